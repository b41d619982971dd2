//! The examples that come with Weft do what their mode promises, seen from the containers, the host
//! and outside; afterwards nothing is left.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use weft_dns::{Name, kind};
use weft_testkit::{Container, Feature, Host, HostState, Outside, Suite, require};

use crate::commands::{ok, weft};
use crate::daemon::{Daemon, ask, wire};
use crate::lan::{HOST4, HOST6, Lan, MACHINE4, MACHINE6, addresses};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conflist-examples")
}

/// An example, installed on a host.
struct Example<'a> {
    suite: Suite,
    host: &'a Host,
    text: String,
    name: String,
}

impl<'a> Example<'a> {
    fn new(file: &str, host: &'a Host) -> Self {
        let path = directory().join(format!("{file}.conflist"));
        let text = std::fs::read_to_string(&path).unwrap();
        let conf: Value = serde_json::from_str(&text).unwrap();
        std::fs::create_dir_all(host.dir().join("conf")).unwrap();
        std::fs::copy(&path, host.dir().join("conf/example.conflist")).unwrap();
        let suite = Suite::weft();
        let check = ["config", "check", path.to_str().unwrap()];
        ok(&weft(&suite, host, &check));
        Self {
            suite,
            host,
            text,
            name: conf["name"].as_str().unwrap().to_owned(),
        }
    }

    fn run(&self, verb: &str, id: &str, netns: &Path) -> Output {
        let cache = self.host.dir().join("cache").display().to_string();
        let netns = netns.display().to_string();
        let words = [
            "cni",
            verb,
            &self.name,
            &netns,
            "--container-id",
            id,
            "--cache-dir",
            &cache,
        ];
        weft(&self.suite, self.host, &words)
    }

    fn verb(&self, verb: &str, container: &Container) -> Output {
        self.run(verb, container.id(), container.path())
    }

    fn add(&self, container: &Container) -> Value {
        serde_json::from_str(&ok(&self.verb("add", container))).unwrap()
    }

    fn status(&self) {
        ok(&weft(
            &self.suite,
            self.host,
            &["cni", "status", &self.name],
        ));
    }

    /// The command line's own cache of results does not count.
    fn assert_nothing_left(&self) {
        let dump = self.host.store().read(|t| t.dump()).unwrap();
        assert!(dump.attachments.is_empty(), "{dump:?}");
        assert!(dump.leases.is_empty() && dump.shared.is_empty(), "{dump:?}");
    }
}

/// Whether two containers of a network reach each other.
#[derive(Clone, Copy, PartialEq)]
enum Peers {
    /// Always.
    Meet,
    /// Not even by way of the switch.
    Apart,
    /// Only if the switch sends their frames back.
    BySwitch,
    /// There can be only one.
    Alone,
}

struct Promise {
    peers: Peers,
    /// The host and the container reach each other.
    host: bool,
    /// The machine needs a route to them: nobody answers ARP or ND.
    is_routed: bool,
}

const ON_THE_LAN: Promise = Promise {
    peers: Peers::Meet,
    host: false,
    is_routed: false,
};

fn on_the_lan(file: &str, needs: &[Feature], promise: &Promise) {
    let test = format!("examples::{}", file.replace('-', "_"));
    if !needs.iter().all(|feature| require(*feature, &test)) {
        return;
    }
    let lan = Lan::new();
    if file.ends_with("vlan-vlan") {
        lan.tag();
    }
    let before = HostState::of(&lan.host);
    let example = Example::new(file, &lan.host);
    let (a, b) = (lan.host.container(), lan.host.container());
    let own = addresses(&example.add(&a));
    assert_eq!(own.len(), 2, "both families: {own:?}");
    let others = match promise.peers {
        Peers::Alone => {
            let refusal = example.verb("add", &b);
            let text = String::from_utf8_lossy(&refusal.stderr);
            assert!(
                text.contains("passthru") && text.contains("(code 7)"),
                "{text}"
            );
            Vec::new()
        }
        _ => addresses(&example.add(&b)),
    };
    if promise.is_routed {
        lan.machine.sh(&format!(
            "ip route add 192.168.61.0/24 via {HOST4} && ip -6 route add fd61::/64 via {HOST6}"
        ));
    }
    for (address, machine) in own.iter().zip([MACHINE4, MACHINE6]) {
        assert!(a.reaches(machine), "outside from a container: {machine}");
        assert!(
            lan.machine.reaches(address),
            "a container from outside: {address}"
        );
    }
    if promise.is_routed {
        let link = a.sh("ip -o link show eth0");
        assert!(link.contains("NOARP"), "{link}");
        let asked = a.sh("ip neigh show dev eth0");
        assert!(
            !asked.contains("lladdr"),
            "somebody was asked for a MAC: {asked}"
        );
    }
    for (address, host) in own.iter().zip([HOST4, HOST6]) {
        assert!(
            lan.host.reaches_only_if(promise.host, address),
            "{address} from the host"
        );
        assert!(
            a.reaches_only_if(promise.host, host),
            "{host} from a container"
        );
    }
    // Last, because a reflective switch brings the host and its containers together as well.
    meet(&lan, &a, &others, promise.peers);
    ok(&example.verb("check", &a));
    if promise.peers != Peers::Alone {
        example.status();
        ok(&example.verb("del", &b));
    }
    if promise.host {
        assert!(
            lan.host.reaches(&own[0]),
            "the first one's way went with the second"
        );
    }
    ok(&example.verb("del", &a));
    example.assert_nothing_left();
    let left = before.differences(&HostState::of(&lan.host));
    let left: Vec<_> = left
        .iter()
        .filter(|line| !line.starts_with("+ store"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn meet(lan: &Lan, one: &Container, others: &[String], peers: Peers) {
    for address in others {
        if peers == Peers::Meet {
            assert!(one.reaches(address), "{address}");
        } else {
            assert!(
                one.cannot_reach(address),
                "{address} without the switch's help"
            );
        }
    }
    if peers != Peers::Meet {
        lan.reflect();
        for address in others {
            assert!(
                one.reaches_only_if(peers == Peers::BySwitch, address),
                "{address}, reflected"
            );
        }
    }
}

#[test]
fn macvlan_bridge() {
    on_the_lan("macvlan-bridge", &[], &ON_THE_LAN);
}

#[test]
fn macvlan_private() {
    let peers = Peers::Apart;
    on_the_lan(
        "macvlan-private",
        &[],
        &Promise {
            peers,
            ..ON_THE_LAN
        },
    );
}

#[test]
fn macvlan_vepa() {
    let peers = Peers::BySwitch;
    on_the_lan(
        "macvlan-vepa",
        &[],
        &Promise {
            peers,
            ..ON_THE_LAN
        },
    );
}

#[test]
fn macvlan_passthru() {
    let peers = Peers::Alone;
    on_the_lan(
        "macvlan-passthru",
        &[],
        &Promise {
            peers,
            ..ON_THE_LAN
        },
    );
}

#[test]
fn macvlan_vlan() {
    on_the_lan("macvlan-vlan", &[Feature::Vlan8021q], &ON_THE_LAN);
}

#[test]
fn macvlan_host_access() {
    let host = true;
    on_the_lan("macvlan-host-access", &[], &Promise { host, ..ON_THE_LAN });
}

#[test]
fn ipvlan_l2() {
    on_the_lan("ipvlan-l2", &[Feature::Ipvlan], &ON_THE_LAN);
}

#[test]
fn ipvlan_private() {
    let peers = Peers::Apart;
    let promise = Promise {
        peers,
        ..ON_THE_LAN
    };
    on_the_lan("ipvlan-private", &[Feature::Ipvlan], &promise);
}

#[test]
fn ipvlan_vepa() {
    let peers = Peers::BySwitch;
    let promise = Promise {
        peers,
        ..ON_THE_LAN
    };
    on_the_lan("ipvlan-vepa", &[Feature::Ipvlan], &promise);
}

#[test]
fn ipvlan_l3() {
    let is_routed = true;
    let promise = Promise {
        is_routed,
        ..ON_THE_LAN
    };
    on_the_lan("ipvlan-l3", &[Feature::Ipvlan], &promise);
}

#[test]
fn ipvlan_l3s() {
    let is_routed = true;
    let promise = Promise {
        is_routed,
        ..ON_THE_LAN
    };
    on_the_lan("ipvlan-l3s", &[Feature::Ipvlan], &promise);
}

#[test]
fn ipvlan_host_access() {
    let host = true;
    let promise = Promise { host, ..ON_THE_LAN };
    on_the_lan("ipvlan-host-access", &[Feature::Ipvlan], &promise);
}

/// The container has the host's interface for itself, and the host has it back afterwards.
#[test]
fn host_device() {
    let lan = Lan::new();
    let before = HostState::of(&lan.host);
    let example = Example::new("host-device", &lan.host);
    let container = lan.host.container();
    let own = addresses(&example.add(&container));
    for (address, machine) in own.iter().zip([MACHINE4, MACHINE6]) {
        assert!(container.reaches(machine) && lan.machine.reaches(address));
    }
    assert!(!lan.host.succeeds("ip link show eth1"));
    ok(&example.verb("check", &container));
    ok(&example.verb("del", &container));
    assert!(lan.host.reaches(MACHINE4));
    // The IPv6 address is the host's again once duplicate address detection is over.
    assert!(lan.host.reaches(MACHINE6));
    example.assert_nothing_left();
    let left = before.differences(&HostState::of(&lan.host));
    let left: Vec<_> = left
        .iter()
        .filter(|line| !line.starts_with("+ store"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A container in the host's network: nothing is made, and it is known.
#[test]
fn host() {
    let lan = Lan::new();
    lan.host.sh(&format!("ip route add default via {MACHINE4}"));
    let before = HostState::of(&lan.host);
    let example = Example::new("host", &lan.host);
    let netns = lan.host.netns_path();
    let result: Value = serde_json::from_str(&ok(&example.run("add", "c1", &netns))).unwrap();
    assert_eq!(addresses(&result), [HOST4, HOST6]);
    assert_eq!(result["interfaces"][0]["name"], "eth1");
    ok(&example.run("check", "c1", &netns));
    example.status();
    let changed = before.differences(&HostState::of(&lan.host));
    assert!(
        changed.iter().all(|line| line.starts_with("+ store")) && !changed.is_empty(),
        "{changed:?}"
    );
    ok(&example.run("del", "c1", &netns));
    example.assert_nothing_left();
}

/// Bridges: two containers reach each other unless they are isolated, and outside where the network
/// masquerades.
fn on_a_bridge(file: &str, needs: &[Feature]) {
    let test = format!("examples::{}", file.replace('-', "_"));
    if !needs.iter().all(|feature| require(*feature, &test)) {
        return;
    }
    let host = Host::new();
    let _outside = Outside::join(&host);
    host.sh("ip link add eth1 type veth peer name wire1 && ip link set wire1 up");
    host.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    let example = Example::new(file, &host);
    let (a, b) = (host.container(), host.container());
    example.add(&a);
    let others = addresses(&example.add(&b));
    ok(&example.verb("check", &a));
    for address in others {
        let closed = ["portIsolation", "isolated", "\"full\""];
        let isolated = closed.iter().any(|word| example.text.contains(word))
            && !example.text.contains("\"policy\"");
        assert!(a.reaches_only_if(!isolated, &address), "{address}");
    }
    if example.text.contains("ipMasq") {
        let is_closed =
            example.text.contains("\"isolation\"") && !example.text.contains("\"policy\"");
        assert!(a.reaches_only_if(!is_closed, "192.0.2.1"), "outside");
    }
    example.status();
    ok(&example.verb("del", &a));
    ok(&example.verb("del", &b));
    example.assert_nothing_left();
}

#[test]
fn bridge() {
    on_a_bridge("bridge", &[]);
}

/// Containers find each other by name, and what the network has names for besides.
#[test]
fn bridge_dns() {
    on_a_bridge("bridge-dns", &[]);
    let host = Host::new();
    let example = Example::new("bridge-dns", &host);
    let _daemon = Daemon::start(&example.suite, &host);
    let (a, b) = (host.container(), host.container());
    let result = example.add(&a);
    let server = result["dns"]["nameservers"][0].as_str().unwrap().to_owned();
    let others = addresses(&example.add(&b));
    let asked = |name: &str, kind| ask(&a, &server, name, kind).unwrap();
    // Without another name the beginning of its id is its name.
    let reverse = Name::of_address(others[0].parse().unwrap()).to_string();
    let own = asked(&reverse, kind::PTR).data;
    let short = b.id().get(..12).unwrap_or_else(|| b.id());
    assert_eq!(own, wire(&format!("{short}.shop.internal")));
    assert_eq!(asked(short, kind::A).code, 0);
    assert_eq!(asked(&format!("{short}.shop.internal"), kind::A).code, 0);
    let printer = asked("printer.shop.internal", kind::A);
    assert_eq!(printer.data, [192, 0, 2, 30]);
    ok(&example.verb("del", &a));
    ok(&example.verb("del", &b));
    example.assert_nothing_left();
}

/// Containers without a label are as in any network; what labels do is in warp.rs.
#[test]
fn warp() {
    on_a_bridge("warp", &[]);
}

#[test]
fn dual_stack() {
    on_a_bridge("dual-stack", &[]);
}

#[test]
fn isolated_ports() {
    on_a_bridge("isolated-ports", &[]);
}

#[test]
fn full_isolation() {
    on_a_bridge("full-isolation", &[]);
}

#[test]
fn firewall() {
    on_a_bridge("firewall", &[]);
}

/// What services do on such a node is in kubernetes.rs.
#[test]
fn kubernetes() {
    on_a_bridge("kubernetes", &[]);
}

#[test]
fn policy() {
    on_a_bridge("policy", &[]);
}

#[test]
fn anti_spoof() {
    on_a_bridge("anti-spoof", &[]);
}

#[test]
fn uplink() {
    on_a_bridge("uplink", &[]);
}

#[test]
fn vlan() {
    on_a_bridge("vlan", &[Feature::BridgeVlanFiltering]);
}

#[test]
fn tuning() {
    on_a_bridge("tuning", &[]);
}

/// No example without a test of its own.
#[test]
fn every_example_is_tested() {
    let source = include_str!("examples.rs");
    let mut count = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let file = entry.unwrap().path();
        let stem = file.file_stem().unwrap().to_str().unwrap();
        assert!(
            source.contains(&format!("\"{stem}\"")),
            "{stem} has no test"
        );
        count += 1;
    }
    assert!(count >= 20, "{count} examples");
}
