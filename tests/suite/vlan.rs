//! VLANs on the bridge. Kernels without VLAN filtering cannot run these.

use serde_json::json;
use weft_testkit::{Feature, HostState, require};

use crate::bridge::Net;
use crate::isolation::network;
use crate::services::{Server, ask_tcp, silent_tcp};

#[test]
fn containers_meet_only_in_their_vlan() {
    if !require(
        Feature::BridgeVlanFiltering,
        "vlan::containers_meet_only_in_their_vlan",
    ) {
        return;
    }
    let net = Net::new();
    let of = |vlan: u16| net.conf(&json!({"vlan": vlan, "isDefaultGateway": false}));
    let ((a, _), (_b, b), (_c, c)) = (net.add(&of(100)), net.add(&of(100)), net.add(&of(200)));
    let address = |result: &serde_json::Value| {
        result["ips"][0]["address"]
            .as_str()
            .unwrap()
            .trim_end_matches("/24")
            .to_owned()
    };
    assert!(a.reaches(&address(&b)));
    assert!(a.cannot_reach(&address(&c)));
}

#[test]
fn the_vlans_gateway_comes_and_goes() {
    if !require(
        Feature::BridgeVlanFiltering,
        "vlan::the_vlans_gateway_comes_and_goes",
    ) {
        return;
    }
    let net = Net::new();
    net.host.sh("sysctl -qw net.ipv4.ip_forward=1");
    let before = HostState::of(&net.host);
    let conf = net.conf(&json!({"vlan": 100, "cleanup": true}));
    let (container, result) = net.add(&conf);
    assert!(container.reaches("10.1.0.1"));
    assert_eq!(result["interfaces"][3]["name"], "wtest0.100");
    let mut check = conf.clone();
    check["prevResult"] = result;
    net.call("CHECK", &check, &container).ok();
    // As an ADD leaves it that is killed before it is up: the next one brings it up.
    net.host.sh("ip link set wtest0.100 down");
    let (next, _) = net.add(&conf);
    assert!(next.reaches("10.1.0.1"));
    net.del(&conf, &next);
    net.del(&conf, &container);
    before.assert_same(&net.host, "cleanup of a VLAN's gateway");
}

#[test]
fn trunks_carry_tagged_frames() {
    if !require(
        Feature::BridgeVlanFiltering,
        "vlan::trunks_carry_tagged_frames",
    ) {
        return;
    }
    let net = Net::new();
    let conf = net.conf(
        &json!({"vlanTrunk": [{"id": 5}, {"minID": 10, "maxID": 12}],
                                "isDefaultGateway": false, "preserveDefaultVlan": true}),
    );
    let (container, result) = net.add(&conf);
    let name = result["interfaces"][1]["name"].as_str().unwrap();
    let vlans = net
        .host
        .sh(&format!("bridge -compressvlans vlan show dev {name}"));
    for part in ["1 PVID", "5", "10-12"] {
        assert!(vlans.contains(part), "{vlans}");
    }
    let mut check = conf;
    check["prevResult"] = result;
    net.call("CHECK", &check, &container).ok();
}

/// On a kernel without VLAN filtering the error says so, and nothing is left.
#[test]
fn a_kernel_without_vlan_filtering_is_named() {
    if weft_testkit::has(Feature::BridgeVlanFiltering) {
        return;
    }
    let net = Net::new();
    let before = HostState::of(&net.host);
    let error = net
        .call("ADD", &net.conf(&json!({"vlan": 7})), &net.host.container())
        .error();
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("create bridge wtest0"),
        "{error}"
    );
    before.assert_same(&net.host, "a VLAN on a kernel without them");
}

/// With a VLAN packets come by the VLAN's gateway, not by the bridge: that is what is closed.
#[test]
fn closed_vlans_are_apart() {
    let test = "vlan::closed_vlans_are_apart";
    if !require(Feature::BridgeVlanFiltering, test) {
        return;
    }
    let net = Net::new();
    let attach = |number: u8, policy: Option<&str>| {
        let conf = network(&net, number, &json!({"vlan": 100}));
        let (container, result) = net.add(&conf);
        if let Some(policy) = policy {
            let chained = json!({"cniVersion": "1.0.0", "name": format!("net{number}"),
                "type": "weft-firewall", "ingressPolicy": policy, "prevResult": result});
            net.call("ADD", &chained, &container).ok();
            net.call("CHECK", &chained, &container).ok();
        }
        container
    };
    let (a, open) = (attach(1, Some("same-bridge")), attach(3, None));
    let b = attach(2, Some("same-bridge"));
    let _server = Server::tcp(&b, 80, "b");
    assert!(open.run(|| ask_tcp("10.2.0.2:80")).is_some(), "the control");
    assert!(a.run(|| silent_tcp("10.2.0.2:80")));
    assert!(a.run(|| silent_tcp("[fd02::2]:80")));
}

/// Another VLAN of a closed network's bridge is a way around it.
#[test]
fn a_closed_bridge_has_no_open_vlans() {
    let net = Net::new();
    let (_closed, _) = net.add(&network(&net, 1, &json!({"isolation": "peer"})));
    let mut open = network(&net, 2, &json!({"vlan": 1}));
    open["bridge"] = "wtest1".into();
    let error = net.call("ADD", &open, &net.host.container()).error();
    assert!(error["msg"].as_str().unwrap().contains("wtest1"), "{error}");
}
