//! weft-macvlan beyond what its examples show: masters that cannot be used, what is shared by
//! several networks, what the keys set.

use serde_json::{Value, json};
use weft_testkit::{Call, Feature, HostState, require};

use crate::lan::{HOST4, HOST6, Lan, MACHINE4, addresses, mac_of};

/// A macvlan on `eth1` with keys added or replaced.
fn conf(keys: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-macvlan",
        "master": "eth1", "ipam": {"type": "weft-ipam",
        "ranges": [[{"subnet": "192.168.60.0/24", "rangeStart": "192.168.60.100"}],
                   [{"subnet": "fd60::/64", "rangeStart": "fd60::100"}]]}});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

#[test]
fn unusable_masters_are_refused_in_advance() {
    let lan = Lan::new();
    lan.host.sh(
        "ip link add br0 type bridge && ip link add port0 type veth && \
         ip link set port0 master br0 up && ip link set br0 up",
    );
    let on = |master: &str| conf(&json!({"master": master}));
    lan.refuses(&on("nosuch0"), 7, &["nosuch0", "does not exist"]);
    lan.refuses(&on("port0"), 7, &["port0", "is a port of"]);
    lan.refuses(&on("lo"), 7, &["loopback"]);
    lan.refuses(&conf(&json!({"master": null})), 7, &["no default route"]);
    lan.refuses(
        &conf(&json!({"mtu": 1501})),
        7,
        &["mtu", "1501", "1500 of eth1"],
    );
}

/// A master without power is in a passing state: containers wait for it as the host does.
#[test]
fn a_master_that_is_down_comes_up_later() {
    for keys in [json!({}), json!({"mode": "private"})] {
        let lan = Lan::new();
        lan.host.sh("ip link set eth1 down");
        let conf = conf(&keys);
        let status = lan.status(&conf);
        status.ok();
        assert!(
            status.stderr.contains("is down: its containers"),
            "{}",
            status.stderr
        );
        let (container, _) = lan.add(&conf);
        let state = lan.host.sh("ip -o link show eth1");
        assert!(
            !state.contains(",UP"),
            "that is the administrator's: {state}"
        );
        lan.host.sh("ip link set eth1 up");
        assert!(container.reaches(MACHINE4), "{keys}");
        lan.call("DEL", &conf, &container).ok();
    }
}

/// The interface for a tag comes up with its master.
#[test]
fn vlan_interfaces_wait_for_a_master_that_is_down() {
    let name = "macvlan::vlan_interfaces_wait_for_a_master_that_is_down";
    if !require(Feature::Vlan8021q, name) {
        return;
    }
    let lan = Lan::new();
    lan.tag();
    lan.host.sh("ip link set eth1 down");
    let conf = conf(&json!({"vlan": 100}));
    let (container, _) = lan.add(&conf);
    lan.host.sh("ip link set eth1 up");
    assert!(container.reaches(MACHINE4));
    lan.call("DEL", &conf, &container).ok();
    assert!(!lan.host.succeeds("ip link show eth1.100"));
}

#[test]
fn a_small_mtu_does_not_go_with_ipv6() {
    let lan = Lan::new();
    let before = HostState::of(&lan.host);
    let conf = conf(&json!({"mtu": 1000}));
    let error = lan.call("ADD", &conf, &lan.host.container()).error();
    assert_eq!(error["code"], 7, "{error}");
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("too small for IPv6"),
        "{error}"
    );
    before.assert_same(&lan.host, "a refused MTU");
}

/// Who was there first keeps the master, whoever of the two it is.
#[test]
fn passthru_has_its_master_alone() {
    let lan = Lan::new();
    let (one, _) = lan.add(&conf(&json!({})));
    let passthru = conf(&json!({"mode": "passthru", "name": "other"}));
    let error = lan.call("ADD", &passthru, &lan.host.container()).error();
    assert_eq!(error["code"], 7, "{error}");
    lan.call("DEL", &conf(&json!({})), &one).ok();
    let (two, result) = lan.add(&passthru);
    let own = mac_of(&two.sh("ip -o link show eth0"));
    let masters = mac_of(&lan.host.sh("ip -o link show eth1"));
    assert_eq!(own, masters, "the master's MAC");
    assert!(two.reaches(MACHINE4) && result["interfaces"][0]["mac"] == own.trim());
    lan.refuses(&conf(&json!({})), 7, &["eth1", "passthru"]);
    lan.call("DEL", &passthru, &two).ok();
    lan.add(&conf(&json!({})));
}

#[test]
fn the_default_routes_interface_is_the_master() {
    let lan = Lan::new();
    lan.host.sh(&format!("ip route add default via {MACHINE4}"));
    let (container, _) = lan.add(&conf(&json!({"master": null})));
    assert!(container.reaches(MACHINE4));
}

#[test]
fn keys_reach_the_interface() {
    let lan = Lan::new();
    let keys = json!({"mtu": 1400, "bcqueuelen": 4000, "mac": "02:00:00:00:00:0c",
        "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}});
    let (container, result) = lan.add(&conf(&keys));
    let link = container.sh("ip -d -o link show eth0");
    for part in ["mtu 1400", "02:00:00:00:00:0c", "macvlan mode bridge"] {
        assert!(link.contains(part), "{part}: {link}");
    }
    // Older iproute2 does not show the length of the queue.
    assert!(
        !link.contains("bcqueuelen") || link.contains("bcqueuelen 4000"),
        "{link}"
    );
    let filter = container.sh("cat /proc/sys/net/ipv4/conf/eth0/arp_filter");
    assert_eq!(filter.trim(), "1");
    let mut check = conf(&keys);
    check["prevResult"] = result;
    lan.call("CHECK", &check, &container).ok();
    container.sh("ip link set eth0 type macvlan mode private");
    let error = lan.call("CHECK", &check, &container).error();
    assert!(
        error["details"]
            .to_string()
            .contains("mode private instead of bridge"),
        "{error}"
    );
}

#[test]
fn the_master_may_be_in_the_container() {
    let lan = Lan::new();
    let container = lan.host.container();
    lan.host.sh(&format!(
        "ip link set eth1 netns {}",
        container.path().display()
    ));
    container.sh("ip link set eth1 up");
    let inside = conf(&json!({"linkInContainer": true}));
    let result = lan.call("ADD", &inside, &container).ok();
    assert!(container.reaches(MACHINE4));
    let mut check = inside.clone();
    check["prevResult"] = result;
    lan.call("CHECK", &check, &container).ok();
    lan.call("DEL", &inside, &container).ok();
    assert!(!container.succeeds("ip link show eth0") && container.succeeds("ip link show eth1"));
    let both = conf(&json!({"linkInContainer": true, "vlan": 5, "hostAccess": true}));
    let error = lan.call("ADD", &both, &container).error();
    assert_eq!(error["code"], 7, "{error}");
}

/// The host's interface, one for all, goes with the last container that needs it.
#[test]
fn host_access_is_shared_and_goes_with_the_last() {
    let lan = Lan::new();
    let before = HostState::of(&lan.host);
    let (first, second) = (
        conf(&json!({"hostAccess": true})),
        conf(
            &json!({"hostAccess": true, "name": "other", "ipam": {"type": "weft-ipam",
            "ranges": [[{"subnet": "192.168.60.0/24", "rangeStart": "192.168.60.200"}]]}}),
        ),
    );
    let (a, a_result) = lan.add(&first);
    let (b, b_result) = lan.add(&second);
    assert_eq!(
        lan.host.sh("ip -o link show type macvlan").lines().count(),
        1
    );
    for address in addresses(&a_result).iter().chain(&addresses(&b_result)) {
        assert!(lan.host.reaches(address), "{address}");
    }
    assert!(a.reaches(HOST4) && a.reaches(HOST6) && b.reaches(HOST4));
    // Nobody outside may take the host's second interface for the host.
    let seen = lan.machine.sh(&format!(
        "ip neigh flush all; ping -c 1 {HOST4} >/dev/null; ip neigh show {HOST4}"
    ));
    let own = mac_of(&lan.host.sh("ip -o link show eth1"));
    assert!(seen.contains(own.trim()), "{seen} is not {own}");
    let mut check = first.clone();
    check["prevResult"] = a_result.clone();
    lan.call("CHECK", &check, &a).ok();
    lan.host.sh("ip route flush dev weft-eth1");
    let error = lan.call("CHECK", &check, &a).error();
    assert!(
        error["details"].to_string().contains("has no route to"),
        "{error}"
    );
    lan.call("DEL", &first, &a).ok();
    assert!(
        lan.host.succeeds("ip link show weft-eth1"),
        "the other network needs it"
    );
    lan.call("DEL", &second, &b).ok();
    before.assert_same(&lan.host, "the last DEL");
}

#[test]
fn host_access_needs_an_address_of_the_host() {
    let lan = Lan::new();
    lan.host.sh("ip -6 addr flush dev eth1 scope global");
    let conf = conf(&json!({"hostAccess": true}));
    let before = HostState::of(&lan.host);
    let error = lan.call("ADD", &conf, &lan.host.container()).error();
    assert!(
        error["msg"].as_str().unwrap().contains("no IPv6 address"),
        "{error}"
    );
    before.assert_same(&lan.host, "a refused ADD");
    let foreign = self::conf(&json!({"hostAccess": ["192.0.2.77", "3fff::77"]}));
    let error = lan.call("ADD", &foreign, &lan.host.container()).error();
    let text = error["msg"].as_str().unwrap();
    assert!(
        text.contains("192.0.2.77 is not an address of the host"),
        "{error}"
    );
    before.assert_same(&lan.host, "a refused ADD");
}

/// A container that died without a DEL: GC takes its ways and what was shared.
#[test]
fn what_the_dead_had_is_collected() {
    let lan = Lan::new();
    let mut conf = conf(&json!({"hostAccess": true}));
    let before = HostState::of(&lan.host);
    let (mut container, _) = lan.add(&conf);
    container.kill();
    conf["cniVersion"] = "1.1.0".into();
    conf["cni.dev/valid-attachments"] = json!([]);
    Call::new(&lan.suite, "GC", &conf).on(&lan.host).ok();
    lan.becomes(&before, "GC");
}

/// Two hosts on one kernel have networks of the same name: each collects its own.
#[test]
fn another_hosts_containers_are_not_collected() {
    let (lan, other) = (Lan::new(), Lan::new());
    let mut conf = conf(&json!({}));
    let (theirs, _) = other.add(&conf);
    let (lost, _) = lan.add(&conf);
    std::fs::remove_dir_all(lan.host.state_dir()).unwrap();
    conf["cniVersion"] = "1.1.0".into();
    conf["cni.dev/valid-attachments"] = json!([]);
    Call::new(&lan.suite, "GC", &conf).on(&lan.host).ok();
    assert!(
        !lost.succeeds("ip link show eth0"),
        "an orphan of this host"
    );
    assert!(theirs.succeeds("ip link show eth0"), "another host's");
}

/// Inode numbers of namespaces are given again: what is in a namespace that has a dead one's is not
/// taken for what the dead one had.
#[test]
fn a_namespace_with_a_dead_ones_number_is_left_alone() {
    use std::os::unix::fs::MetadataExt;
    let lan = Lan::new();
    let conf = conf(&json!({}));
    let (mut dead, _) = lan.add(&conf);
    let other = lan.host.container();
    lan.host.sh(&format!(
        "ip link add tmp0 link eth1 type macvlan && ip link set tmp0 name eth0 netns {}",
        other.path().display()
    ));
    let meta = std::fs::metadata(other.path()).unwrap();
    dead.kill();
    lan.host
        .store()
        .write(|transaction| {
            let mut record = transaction.attachments()?.remove(0);
            let netns = record.netns.as_mut().unwrap();
            (netns.dev, netns.ino) = (meta.dev(), meta.ino());
            transaction.replace_attachment(&record)
        })
        .unwrap();
    lan.call("DEL", &conf, &dead).ok();
    assert!(
        other.succeeds("ip link show eth0"),
        "somebody else's interface is gone"
    );
}

/// The interface for a tag: made once, shared by networks, gone with the last; somebody else's
/// stays.
#[test]
fn vlan_interfaces_are_shared_and_go_with_the_last() {
    let name = "macvlan::vlan_interfaces_are_shared_and_go_with_the_last";
    if !require(Feature::Vlan8021q, name) {
        return;
    }
    let lan = Lan::new();
    lan.tag();
    let before = HostState::of(&lan.host);
    let (first, second) = (
        conf(&json!({"vlan": 100})),
        conf(&json!({"vlan": 100, "name": "other", "ipam": {}})),
    );
    let ((a, _), (b, _)) = (lan.add(&first), lan.add(&second));
    assert!(a.reaches(MACHINE4));
    lan.call("DEL", &first, &a).ok();
    assert!(
        lan.host.succeeds("ip link show eth1.100"),
        "the other network needs it"
    );
    lan.call("DEL", &second, &b).ok();
    before.assert_same(&lan.host, "the last DEL");
    lan.host
        .sh("ip link add link eth1 name eth1.100 type vlan id 100");
    let (c, _) = lan.add(&first);
    lan.call("DEL", &first, &c).ok();
    assert!(
        lan.host.succeeds("ip link show eth1.100"),
        "it is not Weft's"
    );
    lan.host
        .sh("ip link del eth1.100; ip link add link eth1 name eth1.100 type vlan id 7");
    lan.refuses(&first, 7, &["eth1.100", "is not VLAN 100"]);
}

#[test]
fn a_kernel_without_vlans_is_named() {
    if weft_testkit::has(Feature::Vlan8021q) {
        return;
    }
    let lan = Lan::new();
    lan.refuses(
        &conf(&json!({"vlan": 100})),
        111,
        &["modprobe 8021q", "CONFIG_VLAN_8021Q"],
    );
}

/// Two networks, one container: the first one's default route counts, the second takes over.
#[test]
fn the_first_default_route_wins() {
    let lan = Lan::new();
    let mut first = conf(&json!({}));
    first["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    let mut second = first.clone();
    second["name"] = "other".into();
    let (container, _) = lan.add(&first);
    let call = |verb: &str, conf: &Value, ifname: &str| {
        let call = Call::new(&lan.suite, verb, conf).container(&container);
        call.ifname(ifname).on(&lan.host)
    };
    let mut check = second.clone();
    check["prevResult"] = call("ADD", &second, "eth1").ok();
    let way = |to: &str| container.sh(&format!("ip route get {to}"));
    assert!(
        way("203.0.113.1").contains("dev eth0"),
        "{}",
        way("203.0.113.1")
    );
    assert!(way("3fff::1").contains("dev eth0"), "{}", way("3fff::1"));
    call("CHECK", &check, "eth1").ok();
    call("DEL", &first, "eth0").ok();
    assert!(
        way("203.0.113.1").contains("dev eth1"),
        "{}",
        way("203.0.113.1")
    );
    assert!(way("3fff::1").contains("dev eth1"), "{}", way("3fff::1"));
    call("CHECK", &check, "eth1").ok();
}

/// Whatever the container does to its interface, DEL removes it.
#[test]
fn an_interface_is_found_wherever_it_is() {
    let lan = Lan::new();
    let conf = conf(&json!({"mode": "passthru"}));
    let before = HostState::of(&lan.host);
    let elsewhere = lan.host.container();
    let path = elsewhere.path().display().to_string();
    for change in [
        "ip link set eth0 down && ip link set eth0 name other0".to_owned(),
        format!("ip link set eth0 netns {path}"),
    ] {
        let (container, _) = lan.add(&conf);
        container.sh(&change);
        lan.call("DEL", &conf, &container).ok();
        before.assert_same(&lan.host, &change);
    }
    assert!(!elsewhere.succeeds("ip link show eth0"));
}

/// Two networks of the same addresses on one parent: none is given twice, one that is asked for and taken is
/// refused, and the first container keeps its ways.
#[test]
fn a_refused_way_to_a_container_spares_the_first() {
    let lan = Lan::new();
    let first = conf(&json!({"hostAccess": true}));
    let (container, result) = lan.add(&first);
    let mut second = conf(&json!({"hostAccess": true, "name": "other"}));
    let (other, theirs) = lan.add(&second);
    assert_ne!(result["ips"][0]["address"], theirs["ips"][0]["address"]);
    lan.call("DEL", &second, &other).ok();
    let before = HostState::of(&lan.host);
    second["ipam"]["addresses"] = json!([{"address": result["ips"][0]["address"]}]);
    let error = lan.call("ADD", &second, &lan.host.container()).error();
    let msg = error["msg"].as_str().unwrap();
    assert!(msg.contains("is that of net/"), "{error}");
    before.assert_same(&lan.host, "the refused one");
    let mut check = first;
    check["prevResult"] = result;
    lan.call("CHECK", &check, &container).ok();
}

/// The host's interface is what it is taken for, or it is refused.
#[test]
fn somebody_elses_interface_is_no_way_to_containers() {
    let lan = Lan::new();
    lan.host
        .sh("ip link add weft-eth1 type veth && ip link set weft-eth1 up");
    let before = HostState::of(&lan.host);
    let error = lan.call(
        "ADD",
        &conf(&json!({"hostAccess": true})),
        &lan.host.container(),
    );
    assert!(
        error.error()["msg"]
            .as_str()
            .unwrap()
            .contains("is not Weft's interface on eth1")
    );
    before.assert_same(&lan.host, "a refused ADD");
}

/// A parameter that cannot be written fails the ADD, and keeps nothing from being removed.
#[test]
fn a_parameter_that_cannot_be_written_leaves_nothing() {
    let lan = Lan::new();
    let before = HostState::of(&lan.host);
    let conf = conf(&json!({"sysctl": {"net.core.rmem_max": "1000000"}}));
    let container = lan.host.container();
    let error = lan.call("ADD", &conf, &container).error();
    assert!(
        error["msg"].as_str().unwrap().contains("rmem_max"),
        "{error}"
    );
    before.assert_same(&lan.host, "a refused ADD");
    assert!(!container.succeeds("ip link show eth0"));
}
