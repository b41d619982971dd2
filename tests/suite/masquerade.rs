//! Masquerade: who outside sees which source address.

use serde_json::{Value, json};
use weft_testkit::Outside;

use crate::bridge::Net;

fn dual(net: &Net, keys: &Value) -> Value {
    let mut conf = net.conf(keys);
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
    conf
}

#[test]
fn outside_is_reached_only_by_masquerade() {
    let net = Net::new();
    let _outside = Outside::join(&net.host);
    let (plain, _) = net.add(&dual(&net, &json!({})));
    assert!(
        plain.cannot_reach("192.0.2.1"),
        "the control: outside has no route back"
    );
    let (masked, _) = net.add(&dual(&net, &json!({"ipMasq": true})));
    assert!(masked.reaches("192.0.2.1") && masked.reaches("2001:db8::1"));
    assert!(
        plain.cannot_reach("192.0.2.1"),
        "it holds for its own container only"
    );
    let (string, _) = net.add(&dual(&net, &json!({"ipMasq": "true"})));
    assert!(string.reaches("192.0.2.1"));
}

#[test]
fn excluded_destinations_see_the_container() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    outside
        .machine()
        .sh("ip route add 10.1.0.0/24 via 192.0.2.2");
    let source = |container: &weft_testkit::Container| {
        let capture = "timeout 15 tcpdump -n -l -i uplink0 -c 1 icmp 2>/dev/null";
        std::thread::scope(|scope| {
            let listening = scope.spawn(|| outside.machine().sh(capture));
            while !listening.is_finished() {
                container.succeeds("ping -n -c 1 -W 1 192.0.2.1");
            }
            listening.join().unwrap()
        })
    };
    let (masked, _) = net.add(&net.conf(&json!({"ipMasq": true})));
    assert!(source(&masked).contains("192.0.2.2 > 192.0.2.1"));
    let (open, _) = net.add(&net.conf(&json!({"ipMasq": {"exclude": ["192.0.2.0/24"]},
        "name": "open", "bridge": "wtest1", "ipam": {"type": "weft-ipam", "subnet": "10.1.0.128/25"}})));
    assert!(source(&open).contains("10.1.0.130 > 192.0.2.1"));
    net.host.sh("ip addr add 192.0.2.77/32 dev uplink");
    let (fixed, _) = net.add(&net.conf(&json!({"ipMasq": {"to": "192.0.2.77"}})));
    assert!(source(&fixed).contains("192.0.2.77 > 192.0.2.1"));
}

#[test]
fn ipv6_can_be_left_alone() {
    let net = Net::new();
    let _outside = Outside::join(&net.host);
    let (container, _) = net.add(&dual(&net, &json!({"ipMasq": {"ipv6": false}})));
    assert!(container.reaches("192.0.2.1"));
    assert!(container.cannot_reach("2001:db8::1"));
}

#[test]
fn a_flushed_ruleset_comes_back_with_the_next_add() {
    let net = Net::new();
    let _outside = Outside::join(&net.host);
    let conf = net.conf(&json!({"ipMasq": true}));
    let (first, _) = net.add(&conf);
    net.host.sh("nft flush ruleset");
    assert!(first.cannot_reach("192.0.2.1"));
    let (second, _) = net.add(&conf);
    assert!(first.reaches("192.0.2.1") && second.reaches("192.0.2.1"));
}

#[test]
fn other_peoples_rules_are_not_touched() {
    let net = Net::new();
    net.host.sh("nft add table inet theirs && nft add chain inet theirs c '{ type filter hook forward priority 0; }' && \
                 nft add rule inet theirs c counter comment mine");
    let before = net.host.sh("nft list table inet theirs");
    let conf = net.conf(&json!({"ipMasq": true, "cleanup": true}));
    let (container, _) = net.add(&conf);
    net.del(&conf, &container);
    assert_eq!(net.host.sh("nft list table inet theirs"), before);
    assert!(
        !net.host.succeeds("nft list table inet weft"),
        "the tables went with their last user"
    );
}
