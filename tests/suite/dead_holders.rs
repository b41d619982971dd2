//! What a container that is gone still has is no reason to refuse it to one that lives; what a living one has is.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Outside};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::portmap::{Published, portmap, tcp};
use crate::services::{Server, ask_tcp};

fn small(net: &Net, subnet: &str) -> Value {
    let mut conf = net.conf(&json!({"ipMasq": true}));
    conf["ipam"]["ranges"] = json!([[{"subnet": subnet}]]);
    conf
}

fn recorded(net: &Net) -> String {
    let dump = ok(&weft(&net.suite, &net.host, &["store", "dump"]));
    let dump: Value = serde_json::from_str(&dump).unwrap();
    let ids = dump["attachments"].as_array().unwrap().iter();
    ids.map(|one| one["id"]["containerId"].as_str().unwrap())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_dead_containers_port_is_free() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let conf = net.conf(&json!({"ipMasq": true}));
    let mut dead = Published::new(&net, &conf, &tcp(8080, 80));
    let late = dead.ports.clone();
    dead.container.kill();
    let living = Published::new(&net, &conf, &tcp(8080, 80));
    let _server = Server::tcp(&living.container, 80, "living");
    let ask = || outside.machine().run(|| ask_tcp("192.0.2.2:8080"));
    assert_eq!(ask().as_deref(), Some("living 192.0.2.1"));
    // The DEL that comes at last takes nothing from who has it now.
    let call = Call::new(&net.suite, "DEL", &late)
        .id(dead.container.id())
        .ifname("eth0");
    call.on(&net.host).ok();
    assert_eq!(ask().as_deref(), Some("living 192.0.2.1"));
    assert_eq!(ok(&weft(&net.suite, &net.host, &["firewall", "diff"])), "");
}

#[test]
fn a_dead_containers_addresses_are_free() {
    let net = Net::new();
    let conf = small(&net, "10.1.0.0/30");
    let (mut dead, _) = net.add(&conf);
    let outcome = net.call("ADD", &conf, &net.host.container());
    assert_eq!(outcome.code(), 103, "it lives");
    dead.kill();
    let (mut second, result) = net.add(&conf);
    assert_eq!(result["ips"][0]["address"], "10.1.0.2/30");
    // The same of one that is asked for, and of a fixed one.
    second.kill();
    let third = net.host.container();
    let call = Call::new(&net.suite, "ADD", &conf).container(&third);
    call.var("CNI_ARGS", "IP=10.1.0.2").on(&net.host).ok();
    let mut fixed = net.conf(&json!({"name": "fixed", "bridge": "wtest1"}));
    fixed["ipam"] = json!({"type": "weft-ipam", "addresses": [{"address": "10.2.0.5/24"}]});
    let (mut dead, _) = net.add(&fixed);
    assert_eq!(net.call("ADD", &fixed, &net.host.container()).code(), 104);
    dead.kill();
    net.add(&fixed);
}

#[test]
fn a_container_that_comes_back_is_no_duplicate() {
    let net = Net::new();
    let conf = net.conf(&json!({"ipMasq": true}));
    let (mut before, _) = net.add(&conf);
    let id = before.id().to_owned();
    let again = net.host.container();
    let add = || {
        Call::new(&net.suite, "ADD", &conf)
            .container(&again)
            .id(&id)
            .on(&net.host)
    };
    assert_eq!(add().code(), 105, "the other one lives");
    before.kill();
    add().ok();
    assert!(again.reaches("10.1.0.1"));
}

/// The path may go before the namespace does: who still has a process there lives.
#[test]
fn a_namespace_that_somebody_holds_is_not_dead() {
    let net = Net::new();
    let conf = small(&net, "10.1.0.0/30");
    let (holder, _) = net.add(&conf);
    let mut child = holder.run(|| {
        std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap()
    });
    net.host.sh(&format!("umount {}", holder.path().display()));
    let outcome = net.call("ADD", &conf, &net.host.container());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(outcome.code(), 103, "a process lives in it");
}

/// A dead container keeps nobody from the other mode of its bridge, or of its master.
#[test]
fn a_dead_containers_mode_is_free() {
    let net = Net::new();
    let (mut open, _) = net.add(&net.conf(&json!({})));
    let closed = net.conf(&json!({"isolation": "full"}));
    assert_eq!(net.call("ADD", &closed, &net.host.container()).code(), 7);
    open.kill();
    net.add(&closed);

    net.host.sh(
        "ip link add lan0 type veth peer name lan1 && ip link set lan0 up && ip link set lan1 up",
    );
    let macvlan = |name: &str, mode: &str| {
        json!({"cniVersion": "1.0.0", "name": name, "type": "weft-macvlan", "master": "lan0",
            "mode": mode})
    };
    let (mut alone, _) = net.add(&macvlan("alone", "passthru"));
    let other = macvlan("other", "bridge");
    assert_eq!(net.call("ADD", &other, &net.host.container()).code(), 7);
    alone.kill();
    net.add(&other);
}

#[test]
fn a_network_that_has_another_name_is_found() {
    let net = Net::new();
    let old = net.conf(&json!({"ipMasq": true}));
    let published = Published::new(&net, &old, &tcp(8080, 80));
    let rename = |conf: &Value| {
        let mut conf = conf.clone();
        conf["name"] = "renamed".into();
        conf
    };
    let (new, ports) = (rename(&old), rename(&published.ports));
    // Another container's, and another interface of this one, are not meant.
    let (other, _) = net.add(&old);
    for verb_conf in [&ports, &new] {
        net.call("DEL", verb_conf, &published.container).ok();
    }
    assert_eq!(recorded(&net), other.id());
    assert!(!published.container.succeeds("ip link show eth0"));
    Published::new(&net, &new, &tcp(8080, 80));
}

/// The DEL that follows a failed ADD removes nothing of the network that has the interface.
#[test]
fn a_failed_adds_del_spares_the_interface_that_is_there() {
    let net = Net::new();
    let one = net.conf(&json!({"ipMasq": true}));
    let published = Published::new(&net, &one, &tcp(8080, 80));
    let other = net.conf(&json!({"name": "other", "bridge": "wtest1"}));
    assert_eq!(net.call("ADD", &other, &published.container).code(), 106);
    let mut ports = published.ports.clone();
    ports["name"] = "other".into();
    ports["runtimeConfig"]["portMappings"][0]["hostPort"] = 9090.into();
    for conf in [&ports, &other] {
        net.call("DEL", conf, &published.container).ok();
    }
    assert_eq!(recorded(&net), published.container.id());
    assert!(published.container.has_interface("eth0"));
    let mut check = published.ports.clone();
    check["name"] = one["name"].clone();
    net.call("CHECK", &check, &published.container).ok();
}

/// An id that is given again is another container: its port does not lead to the dead one's address.
#[test]
fn an_id_given_again_does_not_share_ports() {
    let net = Net::new();
    let one = net.conf(&json!({}));
    let mut first = Published::new(&net, &one, &tcp(8080, 80));
    let id = first.container.id().to_owned();
    let mut two = net.conf(&json!({"name": "two", "bridge": "wtest1"}));
    two["ipam"]["ranges"] = json!([[{"subnet": "10.2.0.0/24"}]]);
    let again = net.host.container();
    let call = |verb: &str, conf: &Value| {
        Call::new(&net.suite, verb, conf)
            .container(&again)
            .id(&id)
            .on(&net.host)
    };
    let mut ports = portmap(&tcp(8080, 80), &call("ADD", &two).ok());
    ports["name"] = "two".into();
    assert_eq!(call("ADD", &ports).code(), 112, "the first one lives");
    first.container.kill();
    call("ADD", &ports).ok();
    let map = net.host.sh("nft list map inet weft published4");
    assert!(map.contains(": 10.2.0.2 . 80"), "{map}");
    call("CHECK", &ports).ok();
}

#[test]
fn gc_ends_the_dead_of_every_network() {
    let net = Net::new();
    let conf = net.conf(&json!({"ipMasq": true}));
    let elsewhere = |keys: Value| {
        let mut conf = net.conf(&keys);
        conf["ipam"]["ranges"] = json!([[{"subnet": "10.2.0.0/24"}]]);
        conf
    };
    let other = elsewhere(json!({"name": "other", "bridge": "wtest1"}));
    let third = net.conf(&json!({"name": "third", "ipam": null}));
    let (living, _) = net.add(&conf);
    let mut dead: Vec<Container> = [&conf, &other, &third].map(|conf| net.add(conf).0).into();
    let nothing = ok(&weft(&net.suite, &net.host, &["gc"]));
    assert!(nothing.contains("0 dead"), "{nothing}");
    dead.iter_mut().for_each(Container::kill);
    // The kernel removes a namespace's interfaces a moment after its last process.
    let doctor = || weft(&net.suite, &net.host, &["doctor"]);
    let findings = (0..50).map(|_| doctor()).find(|output| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        !output.status.success()
    });
    let text = String::from_utf8(findings.expect("doctor finds nothing").stdout).unwrap();
    assert!(text.contains("weft gc"), "{text}");
    let mut printed = String::new();
    for _ in 0..50 {
        printed += &ok(&weft(&net.suite, &net.host, &["gc"]));
        if printed.matches("ended net").count()
            + printed.matches("ended other").count()
            + printed.matches("ended third").count()
            == 3
        {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    for one in &dead {
        assert!(printed.contains(one.id()), "{printed}");
    }
    assert_eq!(recorded(&net), living.id());
    assert!(ok(&weft(&net.suite, &net.host, &["doctor"])).contains("nothing found"));
}

/// Podman writes lists of 0.4.0: they are collected, and asked for their status, all the same.
#[test]
fn lists_of_old_versions_are_collected() {
    let net = Net::new();
    std::fs::create_dir_all(net.host.dir().join("conf")).unwrap();
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut conf = net.conf(&json!({"ipMasq": true}));
        conf["cniVersion"] = version.into();
        let list = json!({"cniVersion": version, "name": "net", "plugins":
            [conf.clone(), {"type": "weft-portmap", "capabilities": {"portMappings": true}}]});
        let file = net.host.dir().join("conf/net.conflist");
        std::fs::write(&file, list.to_string()).unwrap();
        let (mut container, result) = net.add(&conf);
        let mut ports = portmap(&tcp(8080, 80), &result);
        ports["cniVersion"] = version.into();
        net.call("ADD", &ports, &container).ok();
        container.kill();
        for _ in 0..50 {
            ok(&weft(&net.suite, &net.host, &["cni", "gc", "net"]));
            if recorded(&net).is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        assert_eq!(recorded(&net), "", "{version}");
        ok(&weft(&net.suite, &net.host, &["cni", "status", "net"]));
        let mut full = list.clone();
        full["plugins"][0]["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/32"}]]);
        full["plugins"][0]["uplink"] = "nosuch0".into();
        std::fs::write(&file, full.to_string()).unwrap();
        let status = weft(&net.suite, &net.host, &["cni", "status", "net"]);
        assert!(
            !status.status.success(),
            "{version}: an uplink that is not there"
        );
        let mut foreign = list;
        foreign["plugins"][0]["type"] = "ptp".into();
        foreign["cniVersion"] = "0.4.0".into();
        std::fs::write(&file, foreign.to_string()).unwrap();
        let arguments = ["cni", "gc", "net", "--path", "/usr/lib/cni"];
        let output = weft(&net.suite, &net.host, &arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && text.contains("knows no GC"),
            "{text}"
        );
    }
}
