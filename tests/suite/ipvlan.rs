//! weft-ipvlan beyond what its examples show.

use serde_json::{Value, json};
use weft_testkit::{Feature, HostState, require};

use crate::lan::{HOST4, HOST6, Lan, MACHINE4, addresses};

/// An ipvlan on `eth1` with keys added or replaced.
fn conf(keys: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-ipvlan",
        "master": "eth1", "ipam": {"type": "weft-ipam",
        "ranges": [[{"subnet": "192.168.60.0/24", "rangeStart": "192.168.60.100"}],
                   [{"subnet": "fd60::/64", "rangeStart": "fd60::100"}]]}});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

#[test]
fn a_kernel_without_ipvlan_is_named() {
    if weft_testkit::has(Feature::Ipvlan) {
        return;
    }
    let lan = Lan::new();
    lan.refuses(
        &conf(&json!({})),
        111,
        &["modprobe ipvlan", "CONFIG_IPVLAN"],
    );
}

/// The kernel has one mode a master, and would change that of the containers that are there.
#[test]
fn a_master_has_one_mode() {
    if !require(Feature::Ipvlan, "ipvlan::a_master_has_one_mode") {
        return;
    }
    let lan = Lan::new();
    let (one, _) = lan.add(&conf(&json!({})));
    for keys in [json!({"mode": "l3"}), json!({"flag": "private"})] {
        let mut other = conf(&keys);
        other["name"] = "other".into();
        lan.refuses(&other, 7, &["eth1", "is in use as ipvlan l2"]);
    }
    assert!(one.reaches(MACHINE4));
    let macvlan = conf(&json!({"type": "weft-macvlan", "name": "other"}));
    let error = lan.call("ADD", &macvlan, &lan.host.container()).error();
    assert_eq!(error["code"], 7, "{error}");
    lan.call("DEL", &conf(&json!({})), &one).ok();
    lan.add(&conf(&json!({"mode": "l3"})));
}

/// On the interface, and with the addresses, of the plugin before.
#[test]
fn the_plugin_before_gives_master_and_addresses() {
    if !require(
        Feature::Ipvlan,
        "ipvlan::the_plugin_before_gives_master_and_addresses",
    ) {
        return;
    }
    let lan = Lan::new();
    let mut conf = conf(&json!({"master": null, "ipam": null}));
    conf["prevResult"] = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "eth1"}],
        "ips": [{"address": "192.168.60.77/24", "gateway": MACHINE4}],
        "routes": [{"dst": "10.9.0.0/16", "gw": MACHINE4}]});
    let (container, result) = lan.add(&conf);
    assert_eq!(addresses(&result), ["192.168.60.77"]);
    assert!(container.reaches(MACHINE4));
    assert!(
        container
            .sh("ip route")
            .contains("10.9.0.0/16 via 192.168.60.1")
    );
    lan.call("DEL", &conf, &container).ok();
    conf["prevResult"]["interfaces"] = json!([{"name": "eth1"}, {"name": "lo"}]);
    let error = lan.call("ADD", &conf, &lan.host.container()).error();
    assert_eq!(error["code"], 7, "{error}");
}

/// Nobody answers ARP in l3, so the routes name no gateway.
#[test]
fn routed_modes_have_routes_on_the_link() {
    if !require(
        Feature::Ipvlan,
        "ipvlan::routed_modes_have_routes_on_the_link",
    ) {
        return;
    }
    for mode in ["l3", "l3s"] {
        let lan = Lan::new();
        let before = HostState::of(&lan.host);
        let conf = conf(
            &json!({"mode": mode, "hostAccess": true, "ipam": {"type": "weft-ipam",
            "ranges": [[{"subnet": "192.168.61.0/24"}], [{"subnet": "fd61::/64"}]]}}),
        );
        let (container, result) = lan.add(&conf);
        for (family, text) in [("-4", "default dev eth0"), ("-6", "default dev eth0")] {
            let routes = container.sh(&format!("ip {family} route"));
            assert!(routes.contains(text), "{mode} {family}: {routes}");
        }
        for address in addresses(&result) {
            assert!(lan.host.reaches(&address), "{mode}: {address}");
        }
        assert!(
            container.reaches(HOST4) && container.reaches(HOST6),
            "{mode}"
        );
        let mut check = conf.clone();
        check["prevResult"] = result;
        lan.call("CHECK", &check, &container).ok();
        lan.call("DEL", &conf, &container).ok();
        before.assert_same(&lan.host, mode);
    }
}
