//! One container with several interfaces, as Podman and Multus make them: what is asked for twice is had once,
//! and every address is answered by its own interface.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState, Outside};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::services::{Server, ask_tcp, silent_tcp};

/// A network of its own, on a bridge of its own.
fn network(number: u8, keys: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.0.0", "name": format!("net{number}"), "type": "weft-bridge",
        "bridge": format!("wtwo{number}"), "isGateway": true, "ipMasq": true, "cleanup": true,
        "ipam": {"type": "weft-ipam", "subnet": format!("10.{number}.0.0/24")}});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

/// A plugin of a network's list, after the interface.
fn chained(network: &Value, kind: &str, keys: &Value, prev: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.0.0", "name": network["name"], "type": kind,
        "prevResult": prev});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

fn ports(host_port: u16, container_port: u16) -> Value {
    json!({"runtimeConfig": {"portMappings":
        [{"hostPort": host_port, "containerPort": container_port, "protocol": "tcp"}]}})
}

fn call(net: &Net, verb: &str, conf: &Value, container: &Container, ifname: &str) -> Call {
    let _ = net;
    Call::new(&net.suite, verb, conf)
        .container(container)
        .ifname(ifname)
}

/// An interface in a network, with a chained plugin.
struct Interface<'a> {
    net: &'a Net,
    container: &'a Container,
    ifname: &'static str,
    conf: Value,
    chained: Value,
}

impl<'a> Interface<'a> {
    fn add(
        net: &'a Net,
        container: &'a Container,
        (ifname, conf): (&'static str, Value),
        (kind, keys): (&str, &Value),
    ) -> Self {
        let result = call(net, "ADD", &conf, container, ifname)
            .on(&net.host)
            .ok();
        let chained = chained(&conf, kind, keys, &result);
        let interface = Self {
            net,
            container,
            ifname,
            conf,
            chained,
        };
        interface.run("ADD", &interface.chained).ok();
        interface
    }

    fn run(&self, verb: &str, conf: &Value) -> weft_testkit::Outcome {
        call(self.net, verb, conf, self.container, self.ifname).on(&self.net.host)
    }

    fn del(&self) {
        self.run("DEL", &self.chained).ok();
        self.run("DEL", &self.conf).ok();
    }
}

fn asked(outside: &Outside) -> Option<String> {
    outside.machine().run(|| ask_tcp("192.0.2.2:8080"))
}

#[test]
fn a_port_of_two_networks_lives_as_long_as_one_of_them() {
    for first_goes in [true, false] {
        let net = Net::new();
        let outside = Outside::join(&net.host);
        let container = net.host.container();
        let plugin = ("weft-portmap", &ports(8080, 80));
        let default = json!({"isDefaultGateway": true});
        // The host forwards from the first container on.
        let (warm, _) = net.add(&network(1, &default));
        net.del(&network(1, &default), &warm);
        let before = HostState::of(&net.host);
        let one = Interface::add(&net, &container, ("eth0", network(1, &default)), plugin);
        let two = Interface::add(&net, &container, ("eth1", network(2, &default)), plugin);
        let _server = Server::tcp(&container, 80, "c");
        for interface in [&one, &two] {
            interface.run("CHECK", &interface.chained).ok();
        }
        let elements = net.host.sh("nft list map inet weft published4");
        assert!(
            elements.contains(": 10.1.0."),
            "the first serves: {elements}"
        );
        assert_eq!(ok(&weft(&net.suite, &net.host, &["firewall", "diff"])), "");
        assert_eq!(asked(&outside).as_deref(), Some("c 192.0.2.1"));
        let (goes, stays) = if first_goes { (one, two) } else { (two, one) };
        goes.del();
        assert_eq!(
            asked(&outside).as_deref(),
            Some("c 192.0.2.1"),
            "after {}",
            goes.ifname
        );
        stays.run("CHECK", &stays.chained).ok();
        assert_eq!(ok(&weft(&net.suite, &net.host, &["firewall", "diff"])), "");
        stays.del();
        assert!(outside.machine().run(|| silent_tcp("192.0.2.2:8080")));
        before.assert_same(&net.host, "both interfaces gone");
    }
}

/// What the first interface's DEL would do GC does.
#[test]
fn a_collected_interface_hands_its_port_over() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let container = net.host.container();
    let plugin = ("weft-portmap", &ports(8080, 80));
    let one = Interface::add(&net, &container, ("eth0", network(1, &json!({}))), plugin);
    let default = json!({"isDefaultGateway": true});
    let two = Interface::add(&net, &container, ("eth1", network(2, &default)), plugin);
    let mut gc = one.conf.clone();
    gc["cniVersion"] = "1.1.0".into();
    gc["cni.dev/valid-attachments"] = json!([]);
    Call::new(&net.suite, "GC", &gc).on(&net.host).ok();
    let _server = Server::tcp(&container, 80, "c");
    assert_eq!(asked(&outside).as_deref(), Some("c 192.0.2.1"));
    two.run("CHECK", &two.chained).ok();
}

#[test]
fn a_port_that_leads_elsewhere_is_taken() {
    let net = Net::new();
    let container = net.host.container();
    let interface = ("eth0", network(1, &json!({})));
    let _one = Interface::add(
        &net,
        &container,
        interface,
        ("weft-portmap", &ports(8080, 80)),
    );
    let second = network(2, &json!({}));
    let result = call(&net, "ADD", &second, &container, "eth1")
        .on(&net.host)
        .ok();
    let other_port = chained(&second, "weft-portmap", &ports(8080, 81), &result);
    let outcome = call(&net, "ADD", &other_port, &container, "eth1").on(&net.host);
    assert_eq!(outcome.code(), 112, "another port inside");
    let stranger = net.host.container();
    let result = call(&net, "ADD", &second, &stranger, "eth0")
        .on(&net.host)
        .ok();
    let same = chained(&second, "weft-portmap", &ports(8080, 80), &result);
    let outcome = call(&net, "ADD", &same, &stranger, "eth0").on(&net.host);
    assert_eq!(outcome.code(), 112, "another container");
}

#[test]
fn a_parameter_of_the_namespace_is_what_somebody_still_asks_for() {
    const RANGE: &str = "net.ipv4.ip_local_port_range";
    for order in [[0, 1], [1, 0]] {
        let net = Net::new();
        let container = net.host.container();
        let value = || {
            container
                .sh(&format!("sysctl -n {RANGE}"))
                .replace('\t', " ")
        };
        let before = value();
        let tuned = |range: &str| json!({"sysctl": {RANGE: range}});
        let add = |ifname, number, range: &str| {
            let interface = (ifname, network(number, &json!({})));
            Interface::add(&net, &container, interface, ("weft-tuning", &tuned(range)))
        };
        let both = [add("eth0", 1, "20000 30000"), add("eth1", 2, "21000 31000")];
        assert_eq!(value().trim(), "21000 31000");
        let [goes, stays] = order.map(|index: usize| &both[index]);
        goes.del();
        let wanted = stays.chained["sysctl"][RANGE].as_str().unwrap();
        assert_eq!(value().trim(), wanted, "{} is gone", goes.ifname);
        stays.run("CHECK", &stays.chained).ok();
        stays.del();
        assert_eq!(value(), before, "both are gone");
    }
}

/// The interface plugin's own key is no other thing.
#[test]
fn sysctls_of_the_interface_plugin_are_shared_too() {
    const RANGE: &str = "net.ipv4.ip_local_port_range";
    let net = Net::new();
    let container = net.host.container();
    let value = || {
        container
            .sh(&format!("sysctl -n {RANGE}"))
            .replace('\t', " ")
    };
    let before = value();
    let keys = json!({"sysctl": {RANGE: "20000 30000"}});
    for (ifname, number) in [("eth0", 1), ("eth1", 2)] {
        call(&net, "ADD", &network(number, &keys), &container, ifname)
            .on(&net.host)
            .ok();
    }
    call(&net, "DEL", &network(1, &keys), &container, "eth0")
        .on(&net.host)
        .ok();
    assert_eq!(value().trim(), "20000 30000");
    call(&net, "DEL", &network(2, &keys), &container, "eth1")
        .on(&net.host)
        .ok();
    assert_eq!(value(), before);
}

#[test]
fn each_interface_of_a_sticky_pod_has_its_address_again() {
    let net = Net::new();
    let mut conf = network(1, &json!({}));
    conf["ipam"]["sticky"] = true.into();
    let pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME=web-0";
    let add = |container: &Container, ifname: &str, args: &str| {
        let call = call(&net, "ADD", &conf, container, ifname).var("CNI_ARGS", args);
        call.on(&net.host).ok()["ips"][0]["address"].clone()
    };
    let start = || {
        let container = net.host.container();
        let addresses = [add(&container, "eth0", pod), add(&container, "net1", pod)];
        (container, addresses)
    };
    let (container, first) = start();
    assert_ne!(first[0], first[1]);
    for ifname in ["net1", "eth0"] {
        call(&net, "DEL", &conf, &container, ifname)
            .on(&net.host)
            .ok();
    }
    let stranger = net.host.container();
    let another = add(&stranger, "eth0", "");
    assert!(!first.contains(&another), "{another} is the pod's");
    let (_container, second) = start();
    assert_eq!(second, first);
}

fn rules(container: &Container) -> String {
    container.sh("ip rule; ip -6 rule")
}

/// The host drops what comes back by another interface than it would go out by.
#[test]
fn answers_leave_by_the_interface_that_was_asked() {
    for keys in [
        json!({}),
        json!({"antiSpoof": true}),
        json!({"isolation": "peer"}),
    ] {
        let net = Net::new();
        let outside = Outside::join(&net.host);
        net.host
            .sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1");
        let container = net.host.container();
        let before = rules(&container);
        let mut default = keys.clone();
        default["isDefaultGateway"] = true.into();
        let first = network(1, &default);
        call(&net, "ADD", &first, &container, "eth0")
            .on(&net.host)
            .ok();
        assert_eq!(rules(&container), before, "one interface needs no rules");
        let plugin = ("weft-portmap", &ports(8080, 80));
        let second = Interface::add(&net, &container, ("eth1", network(2, &keys)), plugin);
        let _server = Server::tcp(&container, 80, "c");
        assert_eq!(asked(&outside).as_deref(), Some("c 192.0.2.1"), "{keys}");
        second.run("CHECK", &with_result(&second)).ok();
        second.del();
        call(&net, "DEL", &first, &container, "eth0")
            .on(&net.host)
            .ok();
        assert_eq!(rules(&container), before, "{keys}: both interfaces gone");
    }
}

fn with_result(interface: &Interface<'_>) -> Value {
    let mut conf = interface.conf.clone();
    conf["prevResult"] = interface.chained["prevResult"].clone();
    conf
}

#[test]
fn check_misses_a_rule() {
    let net = Net::new();
    let container = net.host.container();
    call(&net, "ADD", &network(1, &json!({})), &container, "eth0")
        .on(&net.host)
        .ok();
    let mut conf = network(2, &json!({}));
    conf["prevResult"] = call(&net, "ADD", &conf, &container, "eth1")
        .on(&net.host)
        .ok();
    call(&net, "CHECK", &conf, &container, "eth1")
        .on(&net.host)
        .ok();
    container.sh("ip rule del from 10.2.0.2");
    let error = call(&net, "CHECK", &conf, &container, "eth1")
        .on(&net.host)
        .error();
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("rule from 10.2.0.2"),
        "{error}"
    );
}

/// Twice in one network, both in one subnet: each address has its own interface's MAC, and both answer.
#[test]
fn two_interfaces_in_one_subnet_do_not_answer_for_each_other() {
    let modes = [
        (json!({}), true),
        (json!({"antiSpoof": true}), true),
        (json!({"isolation": "peer"}), true),
        (json!({"isolation": "full"}), false),
    ];
    for (keys, has_neighbours) in modes {
        let net = Net::new();
        let conf = network(1, &keys);
        let (container, neighbour) = (net.host.container(), net.host.container());
        let mut default = conf.clone();
        default["isDefaultGateway"] = true.into();
        call(&net, "ADD", &default, &container, "eth0")
            .on(&net.host)
            .ok();
        call(&net, "ADD", &default, &neighbour, "eth0")
            .on(&net.host)
            .ok();
        let result = call(&net, "ADD", &conf, &container, "net1")
            .on(&net.host)
            .ok();
        let both = [("eth0", "10.1.0.2"), ("net1", "10.1.0.4")];
        let own = result["ips"][0]["address"].as_str().unwrap();
        assert!(own.starts_with("10.1.0.4/"), "{keys}: {own}");
        for (ifname, address) in both {
            assert!(net.host.reaches(address), "{keys}: the host to {ifname}");
            assert!(
                neighbour.reaches_only_if(has_neighbours, address),
                "{keys}: to {ifname}"
            );
            let known = net.host.sh(&format!("ip neigh show {address} dev wtwo1"));
            let mac = container.sh(&format!("ip -br link show {ifname} | awk '{{print $3}}'"));
            assert!(
                known.contains(mac.trim()),
                "{keys}: {ifname} has {mac}, the host knows {known}"
            );
        }
        call(&net, "DEL", &conf, &container, "net1")
            .on(&net.host)
            .ok();
        assert!(
            net.host.reaches("10.1.0.2"),
            "{keys}: after the second one's DEL"
        );
    }
}
