//! Which addresses are given, and which routes are made of them.

use serde_json::{Value, json};
use weft_testkit::{HostState, Outside};

use crate::bridge::Net;
use crate::lan::Lan;
use crate::services::{Server, ask_tcp};

fn with_ipam(net: &Net, ipam: &Value, keys: &Value) -> Value {
    let mut conf = net.conf(keys);
    conf["ipam"] = ipam.clone();
    conf["ipam"]["type"] = "weft-ipam".into();
    conf
}

fn first_address(result: &Value) -> &str {
    let address = result["ips"][0]["address"].as_str().unwrap();
    address.split('/').next().unwrap()
}

/// The kernel keeps the network of a destination, and so must CHECK.
#[test]
fn destinations_with_host_bits_are_their_networks() {
    let net = Net::new();
    for (dst, shown) in [
        ("10.99.3.7/16", "10.99.0.0/16"),
        ("fd99::7/48", "fd99::/48"),
    ] {
        let ipam = json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]],
            "routes": [{"dst": dst}]});
        let conf = with_ipam(&net, &ipam, &json!({}));
        let (container, result) = net.add(&conf);
        let routes = container.sh("ip route show; ip -6 route show");
        assert!(routes.contains(shown), "{routes}");
        let mut check = conf.clone();
        check["prevResult"] = result;
        net.call("CHECK", &check, &container).ok();
        container.sh(&format!("ip route del {shown}"));
        assert_eq!(
            net.call("CHECK", &check, &container).code(),
            108,
            "the control"
        );
        net.del(&conf, &container);
    }
}

#[test]
fn network_and_broadcast_address_are_nobodys() {
    let net = Net::new();
    for range in [
        json!({"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.0", "rangeEnd": "10.1.0.7"}),
        json!({"subnet": "10.1.0.0/29"}),
    ] {
        let conf = with_ipam(
            &net,
            &json!({"ranges": [[range]]}),
            &json!({"isGateway": true}),
        );
        let mut given = Vec::new();
        let mut containers = Vec::new();
        loop {
            let container = net.host.container();
            let outcome = net.call("ADD", &conf, &container);
            if !outcome.is_success() {
                assert_eq!(outcome.code(), 103, "{range}");
                break;
            }
            given.push(first_address(&outcome.ok()).to_owned());
            containers.push(container);
        }
        given.sort();
        let all = ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"];
        assert_eq!(given, all, "{range}");
        for container in &containers {
            net.del(&conf, container);
        }
    }
}

/// A router that is in none of the container's subnets is on its link.
#[test]
fn gateways_elsewhere_are_on_the_link() {
    let net = Net::new();
    net.host.sh(
        "ip link add theirs0 type bridge && sysctl -qw net.ipv6.conf.theirs0.accept_dad=0 && \
         ip addr add 172.20.0.1/32 dev theirs0 && ip -6 addr add fe80::1/64 dev theirs0 && ip link set theirs0 up && \
         ip route add 10.1.0.0/24 dev theirs0 && ip -6 route add fd01::/64 dev theirs0 && \
         ip -6 addr add 2001:db8::2/128 dev lo && ip addr add 192.0.2.2/32 dev lo && ip link set lo up",
    );
    let ranges = json!({"ranges": [[{"subnet": "10.1.0.0/24", "gateway": "172.20.0.1"}],
        [{"subnet": "fd01::/64", "gateway": "fe80::1"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]});
    let conf = with_ipam(
        &net,
        &ranges,
        &json!({"bridge": "theirs0", "isGateway": false, "isDefaultGateway": false}),
    );
    let (container, result) = net.add(&conf);
    assert!(
        container.reaches("192.0.2.2"),
        "by a router of another subnet"
    );
    assert!(container.reaches("2001:db8::2"), "by a link-local router");
    let mut check = conf.clone();
    check["prevResult"] = result;
    net.call("CHECK", &check, &container).ok();
    // A route by a router that nobody knows is refused by the kernel, as ever.
    let mut nowhere = conf;
    nowhere["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16", "gw": "172.31.0.1"}]);
    let before = HostState::of(&net.host);
    let error = net.call("ADD", &nowhere, &net.host.container()).error();
    assert!(
        error["msg"].as_str().unwrap().contains("172.31.0.1"),
        "{error}"
    );
    before.assert_same(&net.host, "a failed ADD");
}

/// Networks that share a bridge, a VLAN of it or a master share its addresses.
#[test]
fn two_networks_of_a_segment_give_no_address_twice() {
    let net = Net::new();
    let named = |name: &str, keys: &Value| {
        let mut conf = net.conf(keys);
        conf["name"] = name.into();
        conf
    };
    let (a, first) = net.add(&named("one", &json!({})));
    let (b, second) = net.add(&named("two", &json!({})));
    assert_ne!(first_address(&first), first_address(&second));
    assert!(a.reaches(first_address(&second)) && b.reaches(first_address(&first)));
    // Another bridge is another segment.
    let elsewhere = named(
        "three",
        &json!({"bridge": "wtest3", "isGateway": false, "isDefaultGateway": false}),
    );
    let (c, third) = net.add(&elsewhere);
    assert_eq!(first_address(&third), "10.1.0.2");
    net.del(&elsewhere, &c);
    // One that is asked for by name is refused, with whose it is.
    let mut fixed = named("two", &json!({}));
    fixed["ipam"]["addresses"] = json!([{"address": format!("{}/24", first_address(&first))}]);
    let error = net.call("ADD", &fixed, &net.host.container()).error();
    assert!(error["msg"].as_str().unwrap().contains("one/"), "{error}");

    let lan = Lan::new();
    let on = |name: &str, kind: &str| {
        json!({"cniVersion": "1.0.0", "name": name, "type": kind, "master": "eth1",
            "ipam": {"type": "weft-ipam", "subnet": "192.168.60.0/24", "rangeStart": "192.168.60.100"}})
    };
    let (_a, first) = lan.add(&on("one", "weft-macvlan"));
    let (_b, second) = lan.add(&on("two", "weft-macvlan"));
    assert_ne!(first_address(&first), first_address(&second));
}

/// Masquerade is for what is outside the network: its subnets see each other's own addresses.
#[test]
fn subnets_of_one_network_are_not_masqueraded() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let ipam = json!({"ranges": [[{"subnet": "10.1.0.0/30"}, {"subnet": "10.2.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}]});
    let keys = json!({"isGateway": true, "ipMasq": true});
    let conf = with_ipam(&net, &ipam, &keys);
    let ((a, first), (b, second)) = (net.add(&conf), net.add(&conf));
    let (first, second) = (first_address(&first), first_address(&second));
    assert!(
        first.starts_with("10.1.") && second.starts_with("10.2."),
        "{first} {second}"
    );
    let _servers = (Server::tcp(&a, 80, "a"), Server::tcp(&b, 80, "b"));
    let _beyond = Server::tcp(outside.machine(), 80, "outside");
    let seen = |from: &weft_testkit::Container, at: &str| from.run(|| ask_tcp(&format!("{at}:80")));
    assert_eq!(seen(&a, second), Some(format!("b {first}")));
    assert_eq!(seen(&b, first), Some(format!("a {second}")));
    assert_eq!(seen(&a, "192.0.2.1").as_deref(), Some("outside 192.0.2.2"));
}
