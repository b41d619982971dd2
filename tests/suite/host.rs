//! weft-host: the host's network, and interfaces of the host that move.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState};

use crate::lan::{Lan, MACHINE4, mac_of};

fn conf(keys: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-host"});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

fn device(keys: &Value) -> Value {
    let mut conf = conf(
        &json!({"ipam": {"type": "weft-ipam", "subnet": "192.168.60.0/24",
        "rangeStart": "192.168.60.100"}}),
    );
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

#[test]
fn the_hosts_network_is_for_containers_in_it() {
    let lan = Lan::new();
    let shared = conf(&json!({"interface": "eth1"}));
    let before = HostState::of(&lan.host);
    let own = |verb: &str, conf: &Value| {
        let call = Call::new(&lan.suite, verb, conf).id("c1").ifname("eth0");
        call.netns(&lan.host.netns_path()).on(&lan.host)
    };
    let result = own("ADD", &shared).ok();
    assert_eq!(result["interfaces"][0]["name"], "eth1");
    own("ADD", &shared).error();
    own("DEL", &shared).ok();
    own("DEL", &shared).ok();
    let error = lan.call("ADD", &shared, &lan.host.container()).error();
    let text = error["msg"].as_str().unwrap();
    assert!(
        text.contains("is not the host's network namespace"),
        "{error}"
    );
    for keys in [
        json!({"ipam": {"type": "weft-ipam", "subnet": "10.0.0.0/24"}}),
        json!({"sysctl": {"net.ipv4.ip_forward": "1"}}),
    ] {
        assert_eq!(own("ADD", &conf(&keys)).code(), 7);
    }
    let missing = conf(&json!({"interface": "nosuch0"}));
    assert_eq!(own("ADD", &missing).code(), 7);
    assert_eq!(lan.status(&missing).code(), 50);
    before.assert_same(&lan.host, "a container in the host's network");
}

/// Runs a life with the device and requires that the host has it back as it was.
fn comes_back(lan: &Lan, conf: &Value, meanwhile: impl FnOnce(&Container)) {
    let before = HostState::of(&lan.host);
    let (container, _) = lan.add(conf);
    assert!(container.reaches(MACHINE4), "{conf}");
    assert!(!lan.host.succeeds("ip link show eth1"));
    meanwhile(&container);
    lan.call("DEL", conf, &container).ok();
    lan.becomes(&before, &conf.to_string());
}

#[test]
fn a_device_comes_back_as_it_was() {
    let lan = Lan::new();
    let mac = mac_of(&lan.host.sh("ip -o link show eth1"));
    for keys in [
        json!({"device": "eth1"}),
        json!({"hwaddr": mac}),
        json!({"device": "eth1", "mac": "02:00:00:00:00:0d"}),
    ] {
        comes_back(&lan, &device(&keys), |_| {});
    }
    let conf = device(&json!({"device": "eth1"}));
    comes_back(&lan, &conf, |container| {
        container.sh(
            "ip link set eth0 down && ip link set eth0 name other0 mtu 1300 && \
                      ip link set other0 address 02:00:00:00:00:0e",
        );
    });
    // The driver's own name is taken in the container.
    comes_back(&lan, &conf, |container| {
        container.sh("ip link add eth1 type veth peer name x1");
    });
    comes_back(&lan, &conf, |_| {
        lan.refuses(&conf, 7, &["eth1", "another container may have it"])
    });
}

/// Its name on the host was given to another one in the meantime: it comes back under the name it
/// can be found by, and DEL says so.
#[test]
fn a_device_comes_back_although_its_name_is_taken() {
    let lan = Lan::new();
    let conf = device(&json!({"device": "eth1"}));
    let (container, _) = lan.add(&conf);
    lan.host.sh("ip link add eth1 type veth peer name other1");
    let outcome = lan.call("DEL", &conf, &container);
    outcome.ok();
    assert!(
        outcome
            .stderr
            .contains("its own name eth1 is another one's"),
        "{}",
        outcome.stderr
    );
    assert!(!container.succeeds("ip link show eth0"));
    let all = lan.host.sh("ip -o link");
    assert_eq!(all.matches("192.168.60").count(), 0);
    assert_eq!(
        all.lines().count(),
        4,
        "lo, the pair, and the device: {all}"
    );
}

/// A device that came back when its container's namespace ended, chosen by its MAC: the dead container ends first, so the
/// device has its own name again and nothing of it is taken from the next one.
#[test]
fn a_device_that_came_back_is_found_by_its_mac() {
    let lan = Lan::new();
    lan.host.sh("ip link set eth1 address 02:00:00:00:44:01");
    let conf = device(&json!({"hwaddr": "02:00:00:00:44:01"}));
    let (mut first, _) = lan.add(&conf);
    // As the kernel gives back hardware: with the name it had inside.
    first.sh(&format!(
        "ip link set eth0 netns {}",
        lan.host.netns_path().display()
    ));
    first.kill();
    let (second, _) = lan.add(&conf);
    Call::weft(&lan.suite, &["gc"]).on(&lan.host);
    assert!(second.has_interface("eth0"), "it is the living one's");
    lan.call("DEL", &conf, &second).ok();
    assert!(lan.host.succeeds("ip link show eth1"), "its own name");
}

/// A virtual device goes with its namespace; whatever is left of it is cleaned.
#[test]
fn a_device_that_went_with_its_namespace() {
    let lan = Lan::new();
    let conf = device(&json!({"device": "eth1"}));
    let (mut container, _) = lan.add(&conf);
    container.kill();
    lan.call("DEL", &conf, &container).ok();
    let dump = lan.host.store().read(|t| t.dump()).unwrap();
    assert!(
        dump.attachments.is_empty() && dump.leases.is_empty(),
        "{dump:?}"
    );
}

#[test]
fn a_failed_add_gives_the_device_back() {
    let lan = Lan::new();
    let mut conf = device(&json!({"device": "eth1"}));
    conf["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16", "gw": "172.31.0.1"}]);
    let before = HostState::of(&lan.host);
    lan.call("ADD", &conf, &lan.host.container()).error();
    lan.becomes(&before, "a failed ADD");
}

#[test]
fn devices_that_cannot_go_are_refused() {
    let lan = Lan::new();
    lan.host.sh(
        "ip link add br0 type bridge && ip link add port0 type veth && \
                 ip link set port0 master br0",
    );
    for (keys, words) in [
        (json!({"device": "nosuch0"}), "does not exist"),
        (json!({"device": "lo"}), "loopback"),
        (json!({"device": "port0"}), "is part of"),
        (
            json!({"hwaddr": "02:00:00:00:ff:ff"}),
            "MAC of no interface",
        ),
        (json!({"pciBusID": "0000:ff:1f.7"}), "PCI"),
        (
            json!({"kernelpath": "/sys/devices/none"}),
            "cannot be found",
        ),
        (json!({"kernelpath": "/etc"}), "is not below /sys/devices"),
    ] {
        lan.refuses(&device(&keys), 7, &[words]);
    }
    let two = device(&json!({"device": "eth1", "hwaddr": "02:00:00:00:00:01"}));
    assert_eq!(lan.call("ADD", &two, &lan.host.container()).code(), 7);
}

/// Wherever somebody has moved it.
#[test]
fn a_device_comes_back_from_a_third_namespace() {
    let lan = Lan::new();
    let third = lan.host.container();
    let path = third.path().display().to_string();
    let conf = device(&json!({"device": "eth1"}));
    comes_back(&lan, &conf, |container| {
        container.sh(&format!(
            "ip link set eth0 promisc on; ip link set eth0 txqueuelen 77; \
             ip link set eth0 netns {path}"
        ));
    });
    let link = lan.host.sh("ip -o link show eth1");
    assert!(
        link.contains("qlen 1000") && !link.contains("PROMISC"),
        "{link}"
    );
}

#[test]
fn a_device_with_containers_on_it_is_refused() {
    let lan = Lan::new();
    let macvlan = json!({"cniVersion": "1.0.0", "name": "lan", "type": "weft-macvlan",
        "master": "eth1", "hostAccess": true, "ipam": {"type": "weft-ipam",
        "ranges": [[{"subnet": "192.168.60.0/24", "rangeStart": "192.168.60.200"}]]}});
    let (container, _) = lan.add(&macvlan);
    lan.refuses(&device(&json!({"device": "eth1"})), 7, &[container.id()]);
    lan.refuses(
        &device(&json!({"device": "weft-eth1"})),
        7,
        &["is Weft's own"],
    );
}
