//! R1 to R16: what the reference plugins get wrong, each as a test of any suite. A suite without
//! the plugin that a defect is in has nothing to say.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState};

use crate::{Item, NotApplicable, World};

fn masq(w: &World) -> Value {
    w.conf_with(&json!({"ipMasq": true}))
}

fn masquerade_leak(w: &World) -> Result<(), NotApplicable> {
    w.bridge_only()?;
    let conf = masq(w);
    for is_gone in [false, true] {
        let mut container = w.host.container();
        let result = w.add(&conf, &container);
        let mut with_result = conf.clone();
        with_result["prevResult"] = result.clone();
        let call = Call::new(&w.suite, "DEL", &with_result).container(&container);
        let call = if is_gone {
            call
        } else {
            call.var("CNI_NETNS", "")
        };
        if is_gone {
            container.kill();
        }
        call.on(&w.host).ok();
        let left = w.rules_about(&World::address(&result));
        assert!(left.is_empty(), "namespace gone: {is_gone}: {left:?}");
    }
    Ok(())
}

fn taken_name_code(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    container.sh("ip link add eth0 type veth peer name other");
    assert_ne!(w.call("ADD", &w.conf(), &container).code(), 999);
    Ok(())
}

fn failed_add_leaves_interface(w: &World) -> Result<(), NotApplicable> {
    let (full, _containers) = w.exhaust();
    let container = w.host.container();
    let before = HostState::of(&w.host);
    assert!(!w.call("ADD", &full, &container).is_success());
    assert!(!container.succeeds("ip link show eth0"), "eth0 is left");
    before.assert_same(&w.host, "a failed ADD");
    Ok(())
}

fn macvlan_leaves_link(w: &World) -> Result<(), NotApplicable> {
    let name = w.plugin("macvlan")?;
    w.host
        .sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up");
    let mut conf = w.conf_with(&json!({"type": name, "master": "up0"}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/30"}]]);
    let (one, two) = (w.host.container(), w.host.container());
    w.add(&conf, &one);
    assert!(!w.call("ADD", &conf, &two).is_success());
    assert!(!two.succeeds("ip link show eth0"), "the link is left");
    Ok(())
}

fn sbr_makes_a_file(w: &World) -> Result<(), NotApplicable> {
    let name = w.plugin("sbr")?;
    let gone = w.host.dir().join("gone1");
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": name});
    let outcome = Call::new(&w.suite, "DEL", &conf)
        .id("a")
        .netns(&gone)
        .ifname("eth0")
        .on(&w.host);
    assert!(outcome.is_success(), "{}", outcome.stdout);
    assert!(!gone.exists(), "DEL has made a file");
    Ok(())
}

fn host_device_keeps_lease(w: &World) -> Result<(), NotApplicable> {
    let name = match w.suite.is_weft() {
        true => w.plugin("host")?,
        false => w.plugin("host-device")?,
    };
    w.host.sh("ip link add dev0 type veth peer name dev1");
    let conf = w.conf_with(&json!({"type": name, "device": "dev0"}));
    let container = w.host.container();
    w.add(&conf, &container);
    let call = Call::new(&w.suite, "DEL", &conf)
        .container(&container)
        .var("CNI_NETNS", "");
    call.on(&w.host).ok();
    assert_eq!(w.leases(), 0, "the lease is kept");
    Ok(())
}

fn port_map(w: &World, port: u16) -> Result<Value, NotApplicable> {
    let name = w.plugin("portmap")?;
    Ok(json!({"cniVersion": "1.0.0", "name": "net", "type": name,
        "runtimeConfig": {"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]}}))
}

fn chained(
    w: &World,
    conf: &Value,
    result: &Value,
    c: &Container,
    ifname: &str,
    verb: &str,
) -> bool {
    let mut conf = conf.clone();
    conf["prevResult"] = result.clone();
    Call::new(&w.suite, verb, &conf)
        .container(c)
        .ifname(ifname)
        .on(&w.host)
        .is_success()
}

fn portmap_two_interfaces(w: &World) -> Result<(), NotApplicable> {
    let (first_ports, second_ports) = (port_map(w, 8081)?, port_map(w, 8082)?);
    let conf = w.conf_with(&json!({"isDefaultGateway": false, "isGateway": true}));
    let container = w.host.container();
    let first = w.add(&conf, &container);
    let second = Call::new(&w.suite, "ADD", &conf)
        .container(&container)
        .ifname("eth1");
    let second = second.on(&w.host).ok();
    assert!(chained(w, &first_ports, &first, &container, "eth0", "ADD"));
    assert!(chained(
        w,
        &second_ports,
        &second,
        &container,
        "eth1",
        "ADD"
    ));
    chained(w, &second_ports, &second, &container, "eth1", "DEL");
    assert!(w.ruleset().contains("8081"), "eth0 has lost its port");
    Ok(())
}

fn same_port_twice(w: &World) -> Result<(), NotApplicable> {
    let ports = port_map(w, 8081)?;
    let (one, two) = (w.host.container(), w.host.container());
    let (first, second) = (w.add(&w.conf(), &one), w.add(&w.conf(), &two));
    assert!(chained(w, &ports, &first, &one, "eth0", "ADD"));
    assert!(
        !chained(w, &ports, &second, &two, "eth0", "ADD"),
        "the port is given twice"
    );
    Ok(())
}

fn firewall_leak(w: &World) -> Result<(), NotApplicable> {
    let name = w.plugin("firewall")?;
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": name, "backend": "iptables"});
    let container = w.host.container();
    let result = w.add(&w.conf(), &container);
    assert!(chained(w, &conf, &result, &container, "eth0", "ADD"));
    Call::new(&w.suite, "DEL", &conf)
        .container(&container)
        .on(&w.host)
        .ok();
    let left = w.rules_about(&World::address(&result));
    assert!(left.is_empty(), "without prevResult: {left:?}");
    Ok(())
}

fn tuning_panic(w: &World) -> Result<(), NotApplicable> {
    let name = w.plugin("tuning")?;
    let container = w.host.container();
    let result = w.add(&w.conf(), &container);
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": name, "prevResult": result,
        "args": {"cni": {"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}}});
    let outcome = w.call("ADD", &conf, &container);
    assert!(
        outcome.is_success(),
        "{} {}",
        outcome.stdout,
        outcome.stderr
    );
    Ok(())
}

/// Without limits as well: the reference prints the result it did not get.
fn bandwidth_panic(w: &World) -> Result<(), NotApplicable> {
    let name = w.plugin("bandwidth")?;
    let container = w.host.container();
    let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "type": name});
    w.call("ADD", &conf, &container).error();
    conf["ingressRate"] = 1_000_000.into();
    conf["ingressBurst"] = 1_000_000.into();
    w.call("ADD", &conf, &container).error();
    Ok(())
}

fn stable_bridge_mac(w: &World) -> Result<(), NotApplicable> {
    w.bridge_only()?;
    let conf = w.conf_with(&json!({"isGateway": false, "isDefaultGateway": false}));
    let mut macs = std::collections::BTreeSet::new();
    // All stay: a bridge's own address follows the ports that it has.
    let containers: Vec<Container> = (0..8).map(|_| w.host.container()).collect();
    for container in &containers {
        w.add(&conf, container);
        let link = w.host.sh("ip -o link show wtest0");
        macs.insert(link.split("link/ether ").nth(1).unwrap()[..17].to_owned());
    }
    assert_eq!(macs.len(), 1, "{macs:?}");
    Ok(())
}

pub(crate) const ITEMS: &[Item] = &[
    Item {
        number: "R1",
        kind: 'B',
        title: "bridge: masquerade leaks without a namespace",
        check: masquerade_leak,
    },
    Item {
        number: "R2",
        kind: 'B',
        title: "bridge: code 999 for a taken name",
        check: taken_name_code,
    },
    Item {
        number: "R3",
        kind: 'B',
        title: "bridge: a failed ADD leaves eth0",
        check: failed_add_leaves_interface,
    },
    Item {
        number: "R4",
        kind: 'B',
        title: "macvlan: exhaustion leaves the link",
        check: macvlan_leaves_link,
    },
    Item {
        number: "R5",
        kind: 'B',
        title: "sbr: DEL fails and makes a file",
        check: sbr_makes_a_file,
    },
    Item {
        number: "R6",
        kind: 'B',
        title: "host-device: DEL keeps the lease",
        check: host_device_keeps_lease,
    },
    Item {
        number: "R7",
        kind: 'B',
        title: "portmap: DEL of eth1 takes eth0's ports",
        check: portmap_two_interfaces,
    },
    Item {
        number: "R8",
        kind: 'B',
        title: "portmap: one port for two containers",
        check: same_port_twice,
    },
    Item {
        number: "R9",
        kind: 'B',
        title: "firewall: DEL without prevResult leaves rules",
        check: firewall_leak,
    },
    Item {
        number: "R10",
        kind: 'B',
        title: "tuning: panic on args.cni.sysctl",
        check: tuning_panic,
    },
    Item {
        number: "R11",
        kind: 'B',
        title: "bandwidth: panic without prevResult",
        check: bandwidth_panic,
    },
    Item {
        number: "R12",
        kind: 'B',
        title: "host-local: DEL fails without ranges",
        check: |w| {
            let mut conf = w.ipam_conf();
            conf["ipam"].as_object_mut().unwrap().remove("ranges");
            Call::new(&w.suite, "DEL", &conf)
                .id("a")
                .ifname("eth0")
                .on(&w.host)
                .ok();
            Ok(())
        },
    },
    Item {
        number: "R13",
        kind: 'B',
        title: "bridge: two interfaces and masquerade",
        check: |w| {
            w.bridge_only()?;
            crate::del::other_interface_untouched(w)
        },
    },
    Item {
        number: "R14",
        kind: 'B',
        title: "GC and STATUS are not known",
        check: |w| {
            let container = w.host.container();
            let conf =
                w.conf_with(&json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": []}));
            w.call("ADD", &w.conf(), &container).ok();
            w.verb("STATUS", &conf).ok();
            w.verb("GC", &conf).ok();
            assert_eq!(w.leases(), 0, "GC has collected nothing");
            Ok(())
        },
    },
    Item {
        number: "R15",
        kind: 'B',
        title: "bridge: a bad namespace still makes the bridge",
        check: |w| {
            let before = HostState::of(&w.host);
            let call = Call::new(&w.suite, "ADD", &w.conf())
                .id("a")
                .netns("/nonexistent".as_ref());
            call.ifname("eth0").on(&w.host).error();
            before.assert_same(&w.host, "ADD with a bad namespace");
            Ok(())
        },
    },
    Item {
        number: "R16",
        kind: 'B',
        title: "bridge: its MAC changes with its ports",
        check: stable_bridge_mac,
    },
];
