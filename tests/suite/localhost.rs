//! What is published on 127.0.0.1 is the host's alone, and nobody else speaks in its name.

use std::net::UdpSocket;

use serde_json::json;

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
    net.host.sh("nft flush chain inet weft raw_pre");
    while receiver.recv(&mut [0; 8]).is_ok() {}
    assert!(heard("127.0.0.2"), "the second control");
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
