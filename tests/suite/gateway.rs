//! Gateway addresses on the bridge.

use serde_json::json;
use weft_testkit::Call;

use crate::bridge::Net;

#[test]
fn several_subnets_share_a_bridge() {
    let net = Net::new();
    let first = net.conf(&json!({}));
    let mut second = net
        .suite
        .network_conf("second", "10.2.0.0/24", net.host.dir());
    second["bridge"] = "wtest0".into();
    let ((a, _), (b, _)) = (net.add(&first), net.add(&second));
    assert!(a.reaches("10.1.0.1") && b.reaches("10.2.0.1"));
    assert!(
        a.reaches("10.2.0.2"),
        "routed by the host from one subnet to the other"
    );
}

#[test]
fn a_conflicting_address_is_replaced_only_by_force() {
    let net = Net::new();
    net.host.sh(
        "ip link add wtest0 type bridge && ip link set wtest0 up && \
                 ip addr add 10.1.0.254/24 dev wtest0",
    );
    let error = net
        .call("ADD", &net.conf(&json!({})), &net.host.container())
        .error();
    assert!(
        error["msg"].as_str().unwrap().contains("10.1.0.254/24"),
        "{error}"
    );
    let there = net.host.sh("ip -o -4 addr show wtest0");
    assert!(
        there.contains("10.1.0.254/24") && !there.contains("10.1.0.1/"),
        "{there}"
    );
    let (container, _) = net.add(&net.conf(&json!({"forceAddress": true})));
    let there = net.host.sh("ip -o -4 addr show wtest0");
    assert!(
        !there.contains("10.1.0.254") && there.contains("10.1.0.1/24"),
        "{there}"
    );
    assert!(container.reaches("10.1.0.1"));
}

#[test]
fn the_gateway_is_ipams_or_the_first_address() {
    let net = Net::new();
    let mut conf = net.conf(&json!({}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24", "gateway": "10.1.0.77"}]]);
    let (container, result) = net.add(&conf);
    assert_eq!(result["routes"][0]["gw"], "10.1.0.77");
    assert!(container.reaches("10.1.0.77"));
    let mut fixed = net.conf(&json!({"bridge": "wtest1", "name": "fixed"}));
    fixed["ipam"] = json!({"type": "weft-ipam", "addresses": [{"address": "10.3.0.9/24"}]});
    let (container, result) = net.add(&fixed);
    assert_eq!(result["ips"][0]["gateway"], "10.3.0.1");
    assert!(container.reaches("10.3.0.1"));
}

#[test]
fn forwarding_is_switched_on_for_the_families_in_use() {
    let net = Net::new();
    net.host
        .sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
    let _first = net.add(&net.conf(&json!({})));
    let read = || {
        net.host
            .sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding")
    };
    assert_eq!(read().split_whitespace().collect::<Vec<_>>(), ["1", "0"]);
    let mut conf = net.conf(&json!({}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "fd01::/64"}]]);
    let _second = net.add(&conf);
    assert_eq!(read().split_whitespace().collect::<Vec<_>>(), ["1", "1"]);
    let mut status = net.conf(&json!({"cniVersion": "1.1.0"}));
    net.host.sh("sysctl -qw net.ipv4.ip_forward=0");
    status["ipMasq"] = true.into();
    // The next ADD mends it: no reason to lose a node.
    let outcome = Call::new(&net.suite, "STATUS", &status).on(&net.host);
    outcome.ok();
    assert!(outcome.stderr.contains("ip_forward"), "{}", outcome.stderr);
}
