//! A Kubernetes node: rules such as kube-proxy's send pods to pods of the same node by a service's address.

use std::path::Path;

use serde_json::{Value, json};
use weft_testkit::Container;

use crate::bridge::Net;
use crate::isolation::network;
use crate::services::{Server, ask_tcp, silent_tcp};

const BRIDGE_FILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// The services of kube-proxy, in its nftables mode as in the others: a DNAT before routing, and masquerade of what a
/// pod sends to itself.
fn services(net: &Net) {
    for (family, service, pod) in [
        ("ip", "10.96.0.1", "10.1.0.2"),
        ("ip6", "fd96::1", "fd01::2"),
    ] {
        let to = |port: u16| match family {
            "ip" => format!("{pod}:{port}"),
            _ => format!("[{pod}]:{port}"),
        };
        net.host.sh(&format!(
            "nft add table {family} svc && \
             nft 'add chain {family} svc pre {{ type nat hook prerouting priority dstnat; }}' && \
             nft 'add chain {family} svc post {{ type nat hook postrouting priority srcnat; }}' && \
             nft add rule {family} svc pre {family} daddr {service} tcp dport 80 dnat to {} && \
             nft add rule {family} svc pre {family} daddr {service} tcp dport 81 dnat to {} && \
             nft add rule {family} svc post {family} saddr {pod} {family} daddr {pod} masquerade",
            to(80),
            to(81)
        ));
    }
}

/// With the bridge's filter on, as Kubernetes demands, and off.
fn each_bridge_filter(net: &Net, test: impl Fn(&str)) {
    if !Path::new(BRIDGE_FILTER).exists() {
        test("no br_netfilter");
        return;
    }
    for on in ["1", "0"] {
        net.host.sh(&format!(
            "sysctl -qw net.bridge.bridge-nf-call-iptables={on} net.bridge.bridge-nf-call-ip6tables={on}"
        ));
        test(&format!("br_netfilter {on}"));
    }
}

fn reached(from: &Container, addresses: &[&str], how: &str) {
    for address in addresses {
        assert!(from.run(|| ask_tcp(address)).is_some(), "{how}: {address}");
    }
}

fn closed(from: &Container, addresses: &[&str], how: &str) {
    for address in addresses {
        assert!(from.run(|| silent_tcp(address)), "{how}: {address} is open");
    }
}

/// The example for a node: allowed by a service's address and directly, closed otherwise, and out.
#[test]
fn the_example_serves_a_node() {
    let net = Net::new();
    let outside = weft_testkit::Outside::join(&net.host);
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../conflist-examples/kubernetes.conflist");
    let list: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut conf = list["plugins"][0].clone();
    conf["cniVersion"] = "1.0.0".into();
    conf["name"] = list["name"].clone();
    let ((server, result), (client, _)) = (net.add(&conf), net.add(&conf));
    let pod = result["ips"][0]["address"]
        .as_str()
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let to = |port: u16| {
        format!("nft add rule ip svc pre ip daddr 10.96.0.1 tcp dport {port} dnat to {pod}:{port}")
    };
    net.host.sh(&format!(
        "nft add table ip svc && \
         nft 'add chain ip svc pre {{ type nat hook prerouting priority dstnat; }}' && {} && {}",
        to(80),
        to(81)
    ));
    let _servers = (
        Server::tcp(&server, 80, "open"),
        Server::tcp(&server, 81, "secret"),
    );
    each_bridge_filter(&net, |how| {
        let direct = format!("{pod}:80");
        reached(&client, &["10.96.0.1:80", &direct], how);
        let secret = format!("{pod}:81");
        closed(&client, &["10.96.0.1:81", &secret], how);
    });
    assert!(client.reaches("192.0.2.1"), "out");
    let _beyond = Server::tcp(outside.machine(), 80, "outside");
    let seen = client.run(|| ask_tcp("192.0.2.1:80"));
    assert_eq!(seen.as_deref(), Some("outside 192.0.2.2"));
}

fn pods(net: &Net, keys: &Value) -> [(Container, Value); 3] {
    let conf = network(net, 1, keys);
    [net.add(&conf), net.add(&conf), net.add(&conf)]
}

const ALLOWED: [&str; 4] = [
    "10.1.0.2:80",
    "[fd01::2]:80",
    "10.96.0.1:80",
    "[fd96::1]:80",
];
const FORBIDDEN: [&str; 4] = [
    "10.1.0.2:81",
    "[fd01::2]:81",
    "10.96.0.1:81",
    "[fd96::1]:81",
];

#[test]
fn services_lead_to_neighbours_that_the_policy_allows() {
    for isolation in ["full", "peer"] {
        let net = Net::new();
        let keys = json!({"isDefaultGateway": true, "isolation": isolation,
            "policy": {"ingress": [{"from": "any", "ports": ["tcp/80"]}]}});
        let [(server, _), (client, _), _other] = pods(&net, &keys);
        services(&net);
        let _servers = (
            Server::tcp(&server, 80, "open"),
            Server::tcp(&server, 81, "secret"),
        );
        each_bridge_filter(&net, |how| {
            // Neighbours of `peer` answer each other directly: without the filter no translation is undone on that
            // way, whoever made it. That is why Kubernetes demands the filter.
            let is_one_way = isolation == "peer" && how != "br_netfilter 1";
            let reachable = if is_one_way { &ALLOWED[..2] } else { &ALLOWED };
            reached(&client, reachable, how);
            // Neighbours of `peer` talk directly whatever the policy says; by the host it holds.
            if isolation == "full" {
                closed(&client, &FORBIDDEN, how);
            }
        });
    }
}

/// A pod that asks for its own service gets itself.
#[test]
fn a_pod_reaches_itself_by_its_service() {
    for keys in [
        json!({"isDefaultGateway": true}),
        json!({"isDefaultGateway": true, "isolation": "full",
            "policy": {"ingress": [{"from": "any", "ports": ["tcp/80"]}]}}),
    ] {
        let net = Net::new();
        let [(server, _), _, _] = pods(&net, &keys);
        services(&net);
        let _server = Server::tcp(&server, 80, "itself");
        each_bridge_filter(&net, |how| {
            reached(
                &server,
                &["10.96.0.1:80", "[fd96::1]:80"],
                &format!("{keys}, {how}"),
            );
        });
    }
}

/// What is let pass between ports for services opens no direct way.
#[test]
fn frames_to_a_neighbours_mac_do_not_pass() {
    let net = Net::new();
    let keys = json!({"isDefaultGateway": true, "isolation": "full"});
    let [(server, _), (client, _), _] = pods(&net, &keys);
    let _server = Server::tcp(&server, 80, "closed");
    let mac = server.sh("ip -br link show eth0 | awk '{print $3}'");
    for (family, address) in [("", "10.1.0.2"), ("-6", "fd01::2")] {
        client.sh(&format!(
            "ip {family} route replace {address} dev eth0 && \
             ip {family} neigh replace {address} lladdr {} dev eth0",
            mac.trim()
        ));
    }
    each_bridge_filter(&net, |how| {
        closed(&client, &["10.1.0.2:80", "[fd01::2]:80"], how);
    });
}
