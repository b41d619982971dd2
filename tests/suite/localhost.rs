//! What is published on 127.0.0.1 is the host's alone, and nobody else speaks in its name.

use std::net::UdpSocket;

use serde_json::json;
use weft_testkit::{Feature, require};

use crate::bandwidth::flood;
use crate::bridge::Net;
use crate::isolation::network;
use crate::portmap::{Published, portmap, tcp};
use crate::services::{Server, ask_tcp, silent_tcp};

/// What is published for the host alone is closed to neighbours, on the bridge and in the host's name.
#[test]
fn a_port_for_the_host_alone_opens_nothing() {
    let net = Net::new();
    let bridge_filter = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if std::path::Path::new(bridge_filter).exists() {
        net.host
            .sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0");
    }
    let conf = network(&net, 1, &json!({"isolation": "full"}));
    let ((a, result), (b, theirs)) = (net.add(&conf), net.add(&conf));
    let port = |ip: &str| json!([{"hostPort": 9001, "containerPort": 9001, "hostIP": ip, "protocol": "udp"}]);
    let mac = a.sh("ip -br link show eth0 | awk '{print $3}'");
    b.sh(&format!(
        "ip route add 10.1.0.2 dev eth0 && ip neigh replace 10.1.0.2 lladdr {} dev eth0",
        mac.trim()
    ));
    let publish = |verb: &str, ip: &str| {
        net.call(verb, &portmap(&port(ip), &result), &a).ok();
    };
    publish("ADD", "0.0.0.0");
    assert_eq!(flood(&b, &a, "10.1.0.2"), 0, "neighbours ask the host");
    assert!(flood(&b, &a, "10.1.0.1") > 0, "the control");
    publish("DEL", "0.0.0.0");
    publish("ADD", "127.0.0.1");
    assert_eq!(flood(&b, &a, "10.1.0.2") + flood(&b, &a, "10.1.0.1"), 0);
    drop(theirs);
}

/// Once a neighbour's port is published, the host lets 127.0.0.0/8 leave by the bridge; nobody comes in
/// by it under such an address.
#[test]
fn nobody_speaks_as_the_hosts_loopback() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({}));
    let ((a, result), (b, _)) = (net.add(&conf), net.add(&conf));
    net.host
        .sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wtest1.rp_filter=0");
    b.sh("ip addr add 127.0.0.2/32 dev eth0; sysctl -qw net.ipv4.conf.all.route_localnet=1");
    let receiver = net.host.run(|| UdpSocket::bind("0.0.0.0:9002").unwrap());
    receiver
        .set_read_timeout(Some(std::time::Duration::from_millis(300)))
        .unwrap();
    let heard = |source: &str| {
        b.sh(&format!(
            "python3 -c \"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
             s.bind(('{source}', 0)); [s.sendto(b'x', ('10.1.0.1', 9002)) for _ in range(5)]\""
        ));
        receiver.recv(&mut [0; 8]).is_ok()
    };
    net.call("ADD", &portmap(&tcp(8080, 80), &result), &a).ok();
    assert!(!heard("127.0.0.2"));
    assert!(heard("10.1.0.3"), "the control");
    while receiver.recv(&mut [0; 8]).is_ok() {}
    without_filters(&net, "wtest1");
    assert!(!heard("127.0.0.2"), "by the rules alone");
    net.host.sh("nft flush chain inet weft raw_pre");
    while receiver.recv(&mut [0; 8]).is_ok() {}
    assert!(heard("127.0.0.2"), "the second control");
}

/// What guards 127.0.0.0/8 where the ruleset is flushed, if the kernel has it.
fn without_filters(net: &Net, link: &str) {
    net.host.sh(&format!(
        "tc qdisc del dev {link} clsact 2>/dev/null || true"
    ));
}

/// `nft flush ruleset`, which the restart of another firewall does, does not open the host's loopback services.
#[test]
fn the_loopback_is_closed_without_a_ruleset() {
    let name = "localhost::the_loopback_is_closed_without_a_ruleset";
    if !require(Feature::IngressDrop, name) {
        return;
    }
    let net = Net::new();
    let bridge = "ip link add wtest0 type bridge && ip addr add 10.1.0.1/24 dev wtest0 && ip link set wtest0 up";
    net.host.sh(bridge);
    let conf = net.conf(&json!({"bridge": "wtest0"}));
    let ports = json!([{"hostPort": 8081, "containerPort": 80, "hostIP": "127.0.0.1"}]);
    let queues = || net.host.sh("tc qdisc show dev wtest0");
    let before = queues();
    let guarded = Published::new(&net, &conf, &ports);
    let filters = "tc filter show dev wtest0 ingress";
    assert!(net.host.sh(filters).contains("gact action drop"));
    guarded.del(&net);
    assert_eq!(queues(), before);
    // Filters of others stay.
    net.host.sh(
        "tc qdisc add dev wtest0 clsact && tc filter add dev wtest0 ingress protocol ip pref 7 \
         u32 match ip dst 192.0.2.0/24 action drop",
    );
    let a = Published::new(&net, &conf, &ports);
    a.del(&net);
    assert!(net.host.sh(filters).contains("pref 7") && !net.host.sh(filters).contains("49000"));
    let a = Published::new(&net, &conf, &ports);
    let (b, _) = net.add(&conf);
    let _service = Server::tcp_on(&net.host, 7777, "the host's own");
    let _server = Server::tcp(&a.container, 80, "a");
    b.sh(
        "ip link set lo down; sysctl -qw net.ipv4.conf.all.route_localnet=1; \
          ip route flush table local 127.0.0.0/8; ip route add 127.0.0.1 via 10.1.0.1",
    );
    assert!(
        net.host.run(|| ask_tcp("127.0.0.1:8081")).is_some(),
        "what it is for"
    );
    net.host.sh("nft flush ruleset");
    assert!(b.run(|| silent_tcp("127.0.0.1:7777")));
    without_filters(&net, "wtest0");
    assert!(b.run(|| ask_tcp("127.0.0.1:7777")).is_some(), "the control");
}

/// `route_localnet` does not let neighbours reach what is published on 127.0.0.1.
#[test]
fn neighbours_do_not_reach_localhost() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let ports = json!([{"hostPort": 8081, "containerPort": 80, "hostIP": "127.0.0.1"}]);
    let a = Published::new(&net, &conf, &ports);
    let (b, _) = net.add(&conf);
    let _server = Server::tcp(&a.container, 80, "a");
    without_filters(&net, "wtest0");
    b.sh(
        "ip link set lo down; sysctl -qw net.ipv4.conf.all.route_localnet=1; \
          ip route flush table local 127.0.0.0/8; ip route add 127.0.0.1 via 10.1.0.1",
    );
    assert!(b.run(|| silent_tcp("127.0.0.1:8081")));
    let counted = net.host.sh("nft list chain inet weft raw_pre");
    let rule = counted.lines().find(|line| line.contains("ip daddr 127"));
    assert!(
        rule.is_some_and(|rule| !rule.contains("packets 0 ")),
        "nothing was dropped: {counted}"
    );
    net.host.sh("nft flush chain inet weft raw_pre");
    assert!(
        b.run(|| ask_tcp("127.0.0.1:8081")).is_some(),
        "control: without the guard"
    );
}

/// A container of one family that is published for both ends of the loopback: what can be served is, and the rest is
/// told of.
#[test]
fn what_cannot_be_published_beside_what_can_is_passed_over() {
    let net = Net::new();
    let (container, result) = net.add(&net.conf(&json!({})));
    let _server = Server::tcp(&container, 80, "c");
    let entry = |ip: &str| json!({"hostPort": 8080, "containerPort": 80, "hostIP": ip});
    net.host
        .sh("ip addr add 2001:db8::7/128 dev lo && ip link set lo up");
    for (ports, passed_over) in [
        (json!([entry("127.0.0.1"), entry("::1")]), "::1"),
        (json!([entry("::1"), entry("127.0.0.1")]), "::1"),
        (
            json!([entry("127.0.0.1"), entry("2001:db8::7")]),
            "2001:db8::7",
        ),
    ] {
        let conf = portmap(&ports, &result);
        let outcome = net.call("ADD", &conf, &container);
        outcome.ok();
        assert!(outcome.stderr.contains(passed_over), "{}", outcome.stderr);
        assert!(
            net.host.run(|| ask_tcp("127.0.0.1:8080")).is_some(),
            "{ports}"
        );
        net.call("CHECK", &conf, &container).ok();
        net.call("DEL", &conf, &container).ok();
    }
    // Alone it would serve nobody.
    for ip in ["::1", "2001:db8::7"] {
        let error = net
            .call("ADD", &portmap(&json!([entry(ip)]), &result), &container)
            .error();
        assert!(error["msg"].as_str().unwrap().contains(ip), "{error}");
    }
}

/// The host's own resolver has 127.0.0.53, and a container that publishes port 53 for everybody does not take it away,
/// whoever comes first.
#[test]
fn the_rest_of_the_loopback_network_is_the_hosts() {
    for is_first in [true, false] {
        let net = Net::new();
        net.host.sh("ip link set lo up");
        let outside = weft_testkit::Outside::join(&net.host);
        let (container, result) = net.add(&net.conf(&json!({"ipMasq": true})));
        let resolver = || {
            net.host.run(|| {
                let socket = UdpSocket::bind("127.0.0.53:53").unwrap();
                socket
                    .set_read_timeout(Some(std::time::Duration::from_secs(2)))
                    .unwrap();
                socket
            })
        };
        let before = is_first.then(resolver);
        let ports = json!([{"hostPort": 53, "containerPort": 53, "protocol": "udp"}]);
        net.call("ADD", &portmap(&ports, &result), &container).ok();
        let resolver = before.unwrap_or_else(resolver);
        let _server = Server::udp(&container, 53, "pod");
        let ask = |address: &str| net.host.run(|| crate::services::ask_udp(address));
        assert!(ask("127.0.0.1:53").unwrap().starts_with("pod"));
        let client = net.host.run(|| UdpSocket::bind("127.0.0.1:0").unwrap());
        client.send_to(b"x", "127.0.0.53:53").unwrap();
        assert!(resolver.recv(&mut [0; 8]).is_ok(), "the resolver is asked");
        let beyond = outside
            .machine()
            .run(|| crate::services::ask_udp("192.0.2.2:53"));
        assert_eq!(beyond.as_deref(), Some("pod 192.0.2.1"));
    }
}
