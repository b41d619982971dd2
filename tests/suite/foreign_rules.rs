//! Rules of others that drop: what STATUS says of a ruleset is what becomes of a packet.

use serde_json::{Value, json};
use weft_testkit::{Call, HostState, Outside};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::isolation::network;
use crate::portmap::{portmap, tcp};
use crate::services::{Server, ask_tcp};

const FORWARD: &str = "add table ip other
add chain ip other forward { type filter hook forward priority 0; policy drop; }
";

/// A ruleset of somebody else's, and nothing that depends on Weft: whether a container of 10.1.0.0/24 on wtest1 gets
/// out is asked of a packet.
const RULESETS: &[(&str, &str)] = &[
    ("no rules", ""),
    ("policy drop", FORWARD),
    (
        "policy drop, and a plain accept",
        "F\nadd rule ip other forward accept",
    ),
    (
        "policy drop, and accept by subnet",
        "F\nadd rule ip other forward ip saddr 10.1.0.0/24 accept
add rule ip other forward ip daddr 10.1.0.0/24 accept",
    ),
    (
        "policy drop, and accept of another subnet",
        "F\nadd rule ip other forward ip saddr 10.7.0.0/24 accept
add rule ip other forward ip daddr 10.7.0.0/24 accept",
    ),
    (
        "policy drop, and accept by bridge",
        "F\nadd rule ip other forward iifname \"wtest1\" accept
add rule ip other forward oifname \"wtest1\" ct state established,related accept",
    ),
    (
        "policy drop, and accept by a wildcard",
        "F\nadd rule ip other forward iifname \"wtest*\" accept
add rule ip other forward ct state established accept",
    ),
    (
        "policy drop, and accept by another bridge",
        "F\nadd rule ip other forward iifname \"docker0\" accept
add rule ip other forward ct state established accept",
    ),
    (
        "policy accept, and a drop of this bridge",
        "add table ip other
add chain ip other forward { type filter hook forward priority 0; }
add rule ip other forward iifname \"wtest1\" drop",
    ),
    (
        "policy accept, and a drop of another bridge",
        "add table ip other
add chain ip other forward { type filter hook forward priority 0; }
add rule ip other forward iifname \"docker0\" drop",
    ),
    (
        "a drop behind an accept",
        "add table ip other
add chain ip other forward { type filter hook forward priority 0; }
add rule ip other forward iifname \"wtest1\" accept
add rule ip other forward oifname \"wtest1\" accept
add rule ip other forward drop",
    ),
    (
        "an accept in one table does not hold in the next",
        "F\nadd rule ip other forward accept
add table inet second
add chain inet second forward { type filter hook forward priority 10; }
add rule inet second forward iifname \"wtest1\" drop",
    ),
    (
        "a jump to a chain that accepts",
        "F\nadd chain ip other ours
add rule ip other ours accept
add rule ip other forward jump ours",
    ),
    (
        "a jump to a chain that returns",
        "F\nadd chain ip other ours
add rule ip other ours return
add rule ip other forward jump ours",
    ),
    (
        "a set of interfaces with the bridge",
        "F\nadd set ip other lans { type ifname; elements = { \"wtest1\", \"lan0\" }; }
add rule ip other forward iifname @lans accept
add rule ip other forward ct state established,related accept",
    ),
    (
        "a set of interfaces without the bridge",
        "F\nadd set ip other lans { type ifname; elements = { \"lan0\" }; }
add rule ip other forward iifname @lans accept
add rule ip other forward ct state established,related accept",
    ),
    (
        "rejected",
        "add table ip other
add chain ip other forward { type filter hook forward priority 0; }
add rule ip other forward ip saddr 10.0.0.0/8 reject",
    ),
    (
        "a verdict map of states",
        "F
add rule ip other forward ct state vmap { established : accept, related : accept, new : accept, invalid : drop }",
    ),
    (
        "a limit that returns before a drop",
        "add table ip other
add chain ip other calm
add chain ip other forward { type filter hook forward priority 0; }
add rule ip other calm limit rate 1000/second return
add rule ip other calm drop
add rule ip other forward jump calm",
    ),
    (
        "marked, and accepted by the mark",
        "F
add rule ip other forward meta mark set 1
add rule ip other forward meta mark 1 accept",
    ),
    (
        "addresses that nobody has",
        "add table ip other
add chain ip other forward { type filter hook forward priority 0; }
add rule ip other forward ip daddr { 192.168.0.0/16, 198.51.100.0/24, 203.0.113.0/24 } drop",
    ),
    (
        "the other family alone",
        "add table ip6 other
add chain ip6 other forward { type filter hook forward priority 0; policy drop; }",
    ),
];

#[test]
fn status_says_what_becomes_of_packets() {
    for (what, rules) in RULESETS {
        let net = Net::new();
        let _outside = Outside::join(&net.host);
        let mut conf = network(&net, 1, &json!({"cniVersion": "1.1.0", "ipMasq": true}));
        conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}]]);
        let (container, _) = net.add(&conf);
        let rules = rules.replace("F\n", FORWARD);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &rules).unwrap();
        net.host.sh(&format!("nft -f {}", file.path().display()));
        let gets_out = container.succeeds("ping -n -c 1 -W 1 192.0.2.1");
        let status = Call::new(&net.suite, "STATUS", &conf).on(&net.host);
        assert_eq!(status.is_success(), gets_out, "{what}: {status:?}");
        if !gets_out {
            assert_eq!(status.code(), 51, "{what}");
        }
        let doctor = weft(&net.suite, &net.host, &["doctor"]);
        assert_eq!(doctor.status.success(), gets_out, "{what}: {doctor:?}");
    }
}

fn firewall(conf: &Value, prev: &Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": conf["name"], "type": "weft-firewall", "prevResult": prev})
}

/// weft-firewall in the list admits its bridge where another one drops by default, and nobody else's.
#[test]
fn weft_firewall_admits_its_bridges() {
    for docker in [false, true] {
        let net = Net::new();
        let outside = Outside::join(&net.host);
        // The host forwards from the first container on.
        let conf = network(&net, 1, &json!({"ipMasq": true, "cleanup": true}));
        let (warm, _) = net.add(&conf);
        net.del(&conf, &warm);
        net.host
            .sh("iptables-nft -P FORWARD DROP && ip6tables-nft -P FORWARD DROP");
        if docker {
            net.host
                .sh("iptables-nft -N DOCKER-USER && iptables-nft -I FORWARD -j DOCKER-USER");
        }
        let before = HostState::of(&net.host);
        let (a, result) = net.add(&conf);
        assert!(a.cannot_reach("192.0.2.1"), "the control");
        let (chained, ports) = (firewall(&conf, &result), portmap(&tcp(8080, 80), &result));
        net.call("ADD", &ports, &a).ok();
        net.call("ADD", &chained, &a).ok();
        assert!(a.reaches("192.0.2.1") && a.reaches("2001:db8::1"));
        let _server = Server::tcp(&a, 80, "a");
        let asked = || outside.machine().run(|| ask_tcp("192.0.2.2:8080"));
        assert_eq!(asked().as_deref(), Some("a 192.0.2.1"));
        // iptables lists and keeps the rules as its own, where they belong.
        let chain = if docker { "DOCKER-USER" } else { "FORWARD" };
        let listed = net.host.sh(&format!("iptables-nft -S {chain}"));
        assert_eq!(
            listed.matches("wtest1").count(),
            listed.matches("weft admits").count() * 2,
            "{listed}"
        );
        // Another network without the plugin stays where it was.
        let (other, _) = net.add(&network(&net, 2, &json!({"ipMasq": true, "cleanup": true})));
        assert!(other.cannot_reach("192.0.2.1"), "no consent");
        net.del(
            &network(&net, 2, &json!({"ipMasq": true, "cleanup": true})),
            &other,
        );
        net.call("CHECK", &chained, &a).ok();
        // A second container, and the first one leaves: the rules stay for it; a flush is mended by a reload.
        let (b, theirs) = net.add(&conf);
        let theirs = firewall(&conf, &theirs);
        net.call("ADD", &theirs, &b).ok();
        for one in [&ports, &chained] {
            net.call("DEL", one, &a).ok();
        }
        net.del(&conf, &a);
        assert!(b.reaches("192.0.2.1"));
        net.host
            .sh("iptables-nft -F && iptables-nft -P FORWARD DROP");
        if docker {
            net.host.sh("iptables-nft -I FORWARD -j DOCKER-USER");
        }
        assert!(b.cannot_reach("192.0.2.1"));
        assert_eq!(net.call("CHECK", &theirs, &b).code(), 108, "CHECK sees it");
        ok(&weft(&net.suite, &net.host, &["firewall", "reload"]));
        assert!(b.reaches("192.0.2.1"), "after a reload");
        net.call("CHECK", &theirs, &b).ok();
        net.call("DEL", &theirs, &b).ok();
        net.del(&conf, &b);
        before.assert_same(&net.host, "the last one gone");
    }
}

/// Admission there is not permission here: a closed network stays closed.
#[test]
fn closed_networks_stay_closed() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    net.host.sh("iptables-nft -P FORWARD DROP");
    let conf = network(&net, 1, &json!({"ipMasq": true, "isolation": "full"}));
    let (container, result) = net.add(&conf);
    net.call("ADD", &firewall(&conf, &result), &container).ok();
    assert!(container.cannot_reach("192.0.2.1"));
    drop(outside);
}

/// An admission lifts no drop that somebody has set on purpose, and is not repeated.
#[test]
fn drops_on_purpose_stay() {
    for (rules, what) in [
        (
            "iptables-nft -A FORWARD -s 10.1.0.2 -j DROP",
            "a quarantine",
        ),
        (
            "iptables-nft -P FORWARD DROP && iptables-nft -A FORWARD -i wtest1 -j DROP",
            "the bridge",
        ),
    ] {
        let net = Net::new();
        let _outside = Outside::join(&net.host);
        let conf = network(&net, 1, &json!({"ipMasq": true}));
        let (container, result) = net.add(&conf);
        net.host.sh(rules);
        let before = net.host.sh("iptables-nft -S FORWARD");
        net.call("ADD", &firewall(&conf, &result), &container).ok();
        ok(&weft(&net.suite, &net.host, &["firewall", "reload"]));
        assert_eq!(net.host.sh("iptables-nft -S FORWARD"), before, "{what}");
        assert!(container.cannot_reach("192.0.2.1"), "{what}");
    }
}

/// DOCKER-USER counts only where packets come to it, and one pair of rules is enough.
#[test]
fn an_admission_is_where_packets_pass_and_once() {
    let net = Net::new();
    let _outside = Outside::join(&net.host);
    net.host
        .sh("iptables-nft -P FORWARD DROP && iptables-nft -N DOCKER-USER");
    let conf = network(&net, 1, &json!({"ipMasq": true}));
    let containers: Vec<_> = (0..3)
        .map(|_| {
            let (container, result) = net.add(&conf);
            net.call("ADD", &firewall(&conf, &result), &container).ok();
            container
        })
        .collect();
    ok(&weft(&net.suite, &net.host, &["firewall", "reload"]));
    assert!(containers.iter().all(|one| one.reaches("192.0.2.1")));
    assert_eq!(
        net.host
            .sh("iptables-nft -S")
            .matches("weft admits")
            .count(),
        2
    );
}
