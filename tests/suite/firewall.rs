//! weft-firewall: containers of one bridge are kept apart from those of others, behind any plugin.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState, Suite};

use crate::bandwidth::flood;
use crate::bridge::Net;
use crate::isolation::network;
use crate::services::{Server, ask_tcp, silent_tcp};

fn firewall(name: &str, policy: &str, prev: &Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": name, "type": "weft-firewall",
        "ingressPolicy": policy, "prevResult": prev})
}

/// A container and its policy.
fn add(net: &Net, conf: &Value, policy: &str) -> (Container, Value) {
    let (container, result) = net.add(conf);
    let chained = firewall(conf["name"].as_str().unwrap(), policy, &result);
    let outcome = net.call("ADD", &chained, &container).ok();
    assert_eq!(outcome["ips"], result["ips"], "the result is passed on");
    (container, chained)
}

fn answers(from: &Container, address: &str) -> bool {
    from.run(|| ask_tcp(address)).is_some()
}

fn silent(from: &Container, address: &str) -> bool {
    from.run(|| silent_tcp(address))
}

#[test]
fn networks_with_a_policy_are_apart() {
    let net = Net::new();
    let before = HostState::of(&net.host);
    let confs: Vec<Value> = (1..=3)
        .map(|number| network(&net, number, &json!({"cleanup": true, "ipMasq": true})))
        .collect();
    let (a, a_policy) = add(&net, &confs[0], "same-bridge");
    let (peer, peer_policy) = add(&net, &confs[0], "same-bridge");
    let (b, b_policy) = add(&net, &confs[1], "isolated");
    let (b_peer, b_peer_policy) = add(&net, &confs[1], "isolated");
    let (open, open_policy) = add(&net, &confs[2], "open");
    let _servers: Vec<Server> = [&a, &b, &open]
        .into_iter()
        .map(|one| Server::tcp(one, 80, "x"))
        .collect();
    for (policy, container) in [(&a_policy, &a), (&b_policy, &b), (&open_policy, &open)] {
        net.call("CHECK", policy, container).ok();
    }
    for address in ["10.1.0.2:80", "[fd01::2]:80"] {
        assert!(answers(&peer, address), "same bridge: {address}");
        assert!(silent(&b, address), "another bridge: {address}");
        assert!(answers(&open, address), "one without a policy: {address}");
    }
    for address in ["10.2.0.2:80", "[fd02::2]:80"] {
        assert!(silent(&a, address), "another bridge: {address}");
        assert!(silent(&b_peer, address), "isolated: {address}");
        assert!(answers(&open, address), "one without a policy: {address}");
    }
    assert!(answers(&a, "10.3.0.2:80") && answers(&b, "[fd03::2]:80"));
    // Nor by the gateway; where peers may reach each other, that way too.
    for (from, to, subnet, expected) in [(&peer, &a, 1, true), (&b_peer, &b, 2, false)] {
        let address = format!("10.{subnet}.0.2");
        from.sh(&format!("ip route add {address} via 10.{subnet}.0.1"));
        assert_eq!(flood(from, to, &address) > 0, expected, "{address}");
        from.sh(&format!("ip route del {address}"));
    }
    let all = [
        (&confs[0], &a_policy, &a),
        (&confs[0], &peer_policy, &peer),
        (&confs[1], &b_policy, &b),
        (&confs[1], &b_peer_policy, &b_peer),
        (&confs[2], &open_policy, &open),
    ];
    for (conf, policy, container) in all {
        net.call("DEL", policy, container).ok();
        net.call("DEL", policy, container).ok();
        net.del(conf, container);
    }
    net.host
        .sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
    before.assert_same(&net.host, "policies came and went");
}

/// The bridge plugin's own policy, too.
#[test]
fn isolated_peers_do_not_meet_at_the_gateway() {
    let net = Net::new();
    for (number, policy, expected) in [(1, "same-bridge", true), (2, "isolated", false)] {
        let conf = network(&net, number, &json!({ "ingressPolicy": policy }));
        let ((a, _), (b, _)) = (net.add(&conf), net.add(&conf));
        let address = format!("10.{number}.0.2");
        b.sh(&format!("ip route add {address} via 10.{number}.0.1"));
        assert_eq!(flood(&b, &a, &address) > 0, expected, "{policy}");
    }
}

/// A policy that is taken back opens what it closed, and only that.
#[test]
fn a_policy_can_be_taken_back() {
    let net = Net::new();
    let (one, other) = (network(&net, 1, &json!({})), network(&net, 2, &json!({})));
    let (a, policy) = add(&net, &one, "same-bridge");
    let (peer, peer_policy) = add(&net, &one, "same-bridge");
    let (b, _) = add(&net, &other, "same-bridge");
    let _server = Server::tcp(&a, 80, "a");
    net.call("DEL", &peer_policy, &peer).ok();
    assert!(silent(&b, "10.1.0.2:80"), "a still has its policy");
    net.call("DEL", &policy, &a).ok();
    assert!(answers(&b, "10.1.0.2:80"));
    net.call("CHECK", &policy, &a).error();
}

#[test]
fn another_suites_bridge_is_kept_apart_too() {
    let net = Net::new();
    let reference = Suite::reference();
    let data = net.host.dir().join("local").display().to_string();
    let add = |number: u8| {
        let conf = json!({"cniVersion": "1.0.0", "name": format!("net{number}"), "type": "bridge",
            "bridge": format!("wtest{number}"), "isDefaultGateway": true, "ipam": {
            "type": "host-local", "dataDir": data, "subnet": format!("10.{number}.0.0/24")}});
        let container = net.host.container();
        let result = Call::new(&reference, "ADD", &conf)
            .container(&container)
            .on(&net.host)
            .ok();
        let policy = firewall(&format!("net{number}"), "isolated", &result);
        net.call("ADD", &policy, &container).ok();
        (container, policy)
    };
    let ((a, policy), (peer, _), (b, _)) = (add(1), add(1), add(2));
    let _server = Server::tcp(&a, 80, "a");
    assert!(silent(&peer, "10.1.0.2:80") && silent(&b, "10.1.0.2:80"));
    assert!(
        net.host.run(|| ask_tcp("10.1.0.2:80")).is_some(),
        "the control"
    );
    net.call("CHECK", &policy, &a).ok();
    // Nobody else would end what was let in to an address that is not Weft's to give back.
    let tracked = || {
        let count = "grep -c 'src=10.1.0.2 ' /proc/net/nf_conntrack || true";
        net.host.sh(count).trim().to_owned()
    };
    assert_ne!(tracked(), "0");
    net.call("DEL", &policy, &a).ok();
    assert_eq!(tracked(), "0");
    assert!(answers(&peer, "10.1.0.2:80"), "without its policy");
    // The others are collected as everything of Weft's is.
    for name in ["net1", "net2"] {
        let gc = json!({"cniVersion": "1.1.0", "name": name, "type": "weft-firewall",
            "cni.dev/valid-attachments": []});
        Call::new(&net.suite, "GC", &gc).on(&net.host).ok();
    }
    assert!(answers(&b, "10.1.0.2:80"), "collected");
    let dump = net.host.store().read(|t| t.dump()).unwrap();
    assert!(
        dump.attachments.is_empty() && dump.shared.is_empty(),
        "{dump:?}"
    );
}

#[test]
fn what_is_missing_is_found() {
    let net = Net::new();
    let (a, policy) = add(&net, &network(&net, 1, &json!({})), "isolated");
    for (damage, word) in [
        (
            "nft delete element inet weft networks '{ wtest1 }'",
            "networks",
        ),
        ("nft flush set bridge weft alone_ports", "alone_ports"),
    ] {
        net.host.sh(damage);
        let error = net.call("CHECK", &policy, &a).error();
        assert!(error["msg"].as_str().unwrap().contains(word), "{error}");
    }
    net.host.sh("nft flush ruleset");
    net.call("CHECK", &policy, &a).error();
    net.call("DEL", &policy, &a).ok();
}

#[test]
fn wrong_policies_change_nothing() {
    let net = Net::new();
    let (a, result) = net.add(&network(&net, 1, &json!({})));
    let before = HostState::of(&net.host);
    let wrong = firewall("net1", "closed", &result);
    assert_eq!(net.call("ADD", &wrong, &a).code(), 7);
    let mut none = firewall("net1", "isolated", &result);
    none["prevResult"]["interfaces"] = json!([]);
    let error = net.call("ADD", &none, &a).error();
    assert!(error["msg"].as_str().unwrap().contains("bridge"), "{error}");
    let mut without = firewall("net1", "isolated", &result);
    without.as_object_mut().unwrap().remove("prevResult");
    assert_eq!(net.call("ADD", &without, &a).code(), 7);
    before.assert_same(&net.host, "wrong policies");
}
