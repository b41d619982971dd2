//! Killed at every system call in turn, one DEL (or GC) leaves the host as it was before.

use serde_json::{Value, json};
use weft_api::daemon::{OverlayLine, overlays_file};
use weft_cni::AttachmentId;
use weft_store::{AttachmentRecord, StoreError};
use weft_testkit::{
    Call, Container, Feature, Host, HostState, Suite, kill_at, require, system_calls,
};

use crate::commands::{ok, weft};

/// How what a killed call left is cleaned.
#[derive(Clone, Copy, PartialEq)]
enum Cleaner {
    Del,
    Gc,
}

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Network {
    /// Bridge, gateway and tables are there from a warm-up, and stay.
    Warm,
    /// Every attachment is the first and the last: all of it comes and goes, an uplink and a MAC that has to
    /// be announced too.
    Uplink,
    /// The same with everything closed that can be, which does not go with an uplink.
    Closed,
    /// On the bridge of an overlay, which the daemon has made, among containers of other hosts.
    Overlay,
    /// On a parent, with the host's interface there.
    Macvlan,
    /// On a parent's interface for a tag, which comes and goes.
    MacvlanVlan,
    /// On a parent, with the host's interface there.
    Ipvlan,
    /// An interface of the host that moves.
    Device,
}

impl Network {
    fn needs(self) -> Option<Feature> {
        match self {
            Self::MacvlanVlan => Some(Feature::Vlan8021q),
            Self::Ipvlan => Some(Feature::Ipvlan),
            _ => None,
        }
    }
}

/// A network with everything its plugin makes, dual stack.
fn conf(suite: &Suite, host: &Host, network: Network) -> Value {
    let on_parent = |keys: Value| {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "master": "up0",
            "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"},
            "ipam": {"type": "weft-ipam", "routes": [{"dst": "0.0.0.0/0"}],
            "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]}});
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        conf
    };
    match network {
        Network::Warm | Network::Uplink | Network::Closed => bridge(suite, host, network),
        Network::Overlay => {
            as_weftd_makes_it(host);
            json!({"cniVersion": "1.1.0", "name": "net", "type": "weft-overlay", "overlay": "pods",
                "isolation": "peer", "ipMasq": true})
        }
        Network::Macvlan => on_parent(json!({"type": "weft-macvlan", "hostAccess": true})),
        Network::MacvlanVlan => on_parent(json!({"type": "weft-macvlan", "vlan": 100})),
        Network::Ipvlan => on_parent(json!({"type": "weft-ipvlan", "hostAccess": true})),
        Network::Device => json!({"cniVersion": "1.1.0", "name": "net", "type": "weft-host",
            "device": "up0", "mac": "02:00:00:00:00:78",
            "ipam": {"type": "weft-ipam", "subnet": "10.1.0.0/24"}}),
    }
}

/// A routed overlay's bridge, and the file in which weftd says that it is there.
fn as_weftd_makes_it(host: &Host) {
    host.sh("ip link add br-pods type bridge && ip link set br-pods up && ip addr add 10.50.1.1/24 dev br-pods");
    let line = OverlayLine {
        name: "pods".to_owned(),
        vni: 50,
        mode: "routed".to_owned(),
        bridge: "br-pods".to_owned(),
        addresses: vec!["10.50.1.1/24".to_owned()],
        networks: vec!["10.50.0.0/16".to_owned()],
        local: Some("192.0.2.1".parse().unwrap()),
        ..OverlayLine::default()
    };
    std::fs::create_dir_all(host.state_dir()).unwrap();
    let bytes = serde_json::to_vec(&[line]).unwrap();
    std::fs::write(overlays_file(&host.state_dir()), bytes).unwrap();
}

fn bridge(suite: &Suite, host: &Host, network: Network) -> Value {
    let mut conf = suite.network_conf("net", "10.1.0.0/24", host.dir());
    conf["cniVersion"] = "1.1.0".into();
    conf["ipMasq"] = json!({"exclude": ["10.200.0.0/16"]});
    conf["macspoofchk"] = true.into();
    conf["hairpinMode"] = true.into();
    conf["cleanup"] = (network != Network::Warm).into();
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
    if network == Network::Closed {
        conf["isolation"] = "full".into();
        conf["policy"] = json!({"ingress": [{"from": {"network": "net"}, "ports": ["tcp/80"]}]});
    }
    if network == Network::Uplink {
        conf["uplink"] = "up0".into();
        conf["mac"] = "02:00:00:00:00:77".into();
    }
    conf
}

fn clean(suite: &Suite, host: &Host, conf: &Value, container: &Container, cleaner: Cleaner) {
    match cleaner {
        Cleaner::Del => Call::new(suite, "DEL", conf)
            .container(container)
            .on(host)
            .ok(),
        Cleaner::Gc => {
            let mut conf = conf.clone();
            conf["cni.dev/valid-attachments"] = json!([]);
            Call::new(suite, "GC", &conf).on(host).ok()
        }
    };
}

/// A host that has forwarding on, so that nothing of it is the first attachment's doing.
fn prepared(suite: &Suite, network: Network) -> (Host, Value, HostState) {
    let host = Host::new();
    host.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    host.sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up");
    if matches!(network, Network::Macvlan | Network::Ipvlan) {
        host.sh("ip addr add 10.1.0.200/24 dev up0 && ip addr add fd01::200/64 dev up0 nodad");
    }
    let conf = conf(suite, &host, network);
    if matches!(network, Network::Warm | Network::Overlay) {
        let container = host.container();
        Call::new(suite, "ADD", &conf)
            .container(&container)
            .on(&host)
            .ok();
        Call::new(suite, "DEL", &conf)
            .container(&container)
            .on(&host)
            .ok();
    }
    let before = HostState::of(&host);
    (host, conf, before)
}

/// Kills `victim` at each of its system calls in turn, each time after `first`, and requires that
/// cleaning leaves the host as it was before.
///
/// In a virtual machine without KVM that would take hours: there it is a dozen of the calls, evenly
/// spread.
fn kill_at_each(victim: &str, first: Option<&str>, network: Network, cleaner: Cleaner) {
    let needed = network.needs();
    if needed.is_some_and(|feature| !require(feature, &format!("crash::{victim} {network:?}"))) {
        return;
    }
    let suite = Suite::weft();
    let (host, conf, before) = prepared(&suite, network);
    let container = host.container();
    let call = |verb: &str| Call::new(&suite, verb, &conf).container(&container);
    let prepare = || {
        first
            .into_iter()
            .for_each(|verb| drop(call(verb).on(&host).ok()))
    };
    // Once untraced: the very first call also makes the store's files, which then stay.
    prepare();
    call(victim).on(&host).ok();
    clean(&suite, &host, &conf, &container, cleaner);
    // The shortest of three: on a busy machine a call may have to wait or to read a list again.
    let traced = (0..3).map(|_| {
        prepare();
        let (outcome, calls) = system_calls(&call(victim), &host);
        outcome.ok();
        clean(&suite, &host, &conf, &container, cleaner);
        calls
    });
    let calls = traced.min_by_key(Vec::len).unwrap();
    before.assert_same(&host, "a call that was not killed");
    assert!(calls.len() > 50, "only {} system calls traced", calls.len());
    let step = match std::env::var_os("WEFT_FEW_CRASHES") {
        Some(_) => calls.len() / 12,
        None => 1,
    };
    let calls: Vec<_> = calls.into_iter().step_by(step).collect();
    let mut killed = 0;
    for at in &calls {
        prepare();
        killed += usize::from(kill_at(&call(victim), &host, at));
        clean(&suite, &host, &conf, &container, cleaner);
        before.assert_same(&host, &format!("{victim} killed at {at:?}"));
        if network == Network::Closed {
            let same = ok(&weft(&suite, &host, &["firewall", "diff"]));
            assert_eq!(same, "", "{victim} killed at {at:?}");
        }
        let is_left = container.has_interface("eth0");
        assert!(!is_left, "{victim} killed at {at:?}: eth0 is left");
    }
    // That it kills at all: the last calls are the exit itself, and how often something is awaited
    // varies from run to run.
    let (few, all) = (calls.len() / 5, calls.len());
    assert!(killed + few >= all, "{killed} of {all} calls were killed");
}

#[test]
fn add_killed_anywhere_then_del() {
    kill_at_each("ADD", None, Network::Warm, Cleaner::Del);
}

#[test]
fn add_killed_anywhere_then_gc() {
    kill_at_each("ADD", None, Network::Warm, Cleaner::Gc);
}

#[test]
fn first_add_killed_anywhere_then_del() {
    kill_at_each("ADD", None, Network::Uplink, Cleaner::Del);
}

#[test]
fn first_add_killed_anywhere_then_gc() {
    kill_at_each("ADD", None, Network::Uplink, Cleaner::Gc);
}

#[test]
fn del_killed_anywhere_then_del() {
    kill_at_each("DEL", Some("ADD"), Network::Warm, Cleaner::Del);
}

#[test]
fn del_killed_anywhere_then_gc() {
    kill_at_each("DEL", Some("ADD"), Network::Warm, Cleaner::Gc);
}

#[test]
fn last_del_killed_anywhere_then_del() {
    kill_at_each("DEL", Some("ADD"), Network::Uplink, Cleaner::Del);
}

#[test]
fn closed_add_killed_anywhere_then_gc() {
    kill_at_each("ADD", None, Network::Closed, Cleaner::Gc);
}

#[test]
fn closed_del_killed_anywhere_then_del() {
    kill_at_each("DEL", Some("ADD"), Network::Closed, Cleaner::Del);
}

#[test]
fn overlay_add_killed_anywhere_then_del() {
    kill_at_each("ADD", None, Network::Overlay, Cleaner::Del);
}

#[test]
fn overlay_del_killed_anywhere_then_gc() {
    kill_at_each("DEL", Some("ADD"), Network::Overlay, Cleaner::Gc);
}

#[test]
fn macvlan_add_killed_anywhere_then_del() {
    kill_at_each("ADD", None, Network::Macvlan, Cleaner::Del);
}

#[test]
fn macvlan_del_killed_anywhere_then_gc() {
    kill_at_each("DEL", Some("ADD"), Network::Macvlan, Cleaner::Gc);
}

#[test]
fn macvlan_vlan_add_killed_anywhere_then_gc() {
    kill_at_each("ADD", None, Network::MacvlanVlan, Cleaner::Gc);
}

#[test]
fn macvlan_vlan_del_killed_anywhere_then_del() {
    kill_at_each("DEL", Some("ADD"), Network::MacvlanVlan, Cleaner::Del);
}

#[test]
fn ipvlan_add_killed_anywhere_then_del() {
    kill_at_each("ADD", None, Network::Ipvlan, Cleaner::Del);
}

#[test]
fn ipvlan_del_killed_anywhere_then_gc() {
    kill_at_each("DEL", Some("ADD"), Network::Ipvlan, Cleaner::Gc);
}

#[test]
fn device_add_killed_anywhere_then_del() {
    kill_at_each("ADD", None, Network::Device, Cleaner::Del);
}

#[test]
fn device_del_killed_anywhere_then_gc() {
    kill_at_each("DEL", Some("ADD"), Network::Device, Cleaner::Gc);
}

/// Settings of an interface that stays: killed anywhere, one DEL puts all of them back.
fn tuning_killed_at_each(victim: &str, first: Option<&str>) {
    let suite = Suite::weft();
    let host = Host::new();
    let container = host.container();
    let interface = suite.network_conf("net", "10.1.0.0/24", host.dir());
    let call = |verb: &str, conf: &Value| Call::new(&suite, verb, conf).container(&container);
    let prev = call("ADD", &interface).on(&host).ok();
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-tuning", "mtu": 1400,
        "mac": "02:00:00:00:00:0c", "promisc": true, "allmulti": true, "txQLen": 500,
        "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.core.somaxconn": "77"},
        "prevResult": prev});
    let inside = || {
        container.sh(
            "ip -o link show eth0; ip route; ip addr show dev eth0 | grep 'inet '; \
                      cat /proc/sys/net/ipv4/conf/eth0/arp_filter /proc/sys/net/core/somaxconn",
        )
    };
    let before = (HostState::of(&host), inside());
    let prepare = || {
        first
            .iter()
            .for_each(|verb| drop(call(verb, &conf).on(&host).ok()))
    };
    prepare();
    let (outcome, calls) = system_calls(&call(victim, &conf), &host);
    outcome.ok();
    assert!(calls.len() > 30, "only {} system calls traced", calls.len());
    call("DEL", &conf).on(&host).ok();
    for at in &calls {
        prepare();
        kill_at(&call(victim, &conf), &host, at);
        call("DEL", &conf).on(&host).ok();
        let what = format!("tuning {victim} killed at {at:?}");
        before.0.assert_same(&host, &what);
        assert_eq!(inside(), before.1, "{what}");
    }
}

#[test]
fn tuning_add_killed_anywhere_then_del() {
    tuning_killed_at_each("ADD", None);
}

#[test]
fn tuning_del_killed_anywhere_then_del() {
    tuning_killed_at_each("DEL", Some("ADD"));
}

/// The IPAM plugin's own call, killed anywhere.
#[test]
fn ipam_add_killed_anywhere_then_del() {
    let suite = Suite::weft();
    let host = Host::new();
    let conf = suite.ipam_conf("net", "10.1.0.0/24", host.dir());
    let call = |verb: &str| {
        Call::new(&suite, verb, &conf)
            .id("a")
            .netns("/none".as_ref())
            .ifname("eth0")
    };
    call("ADD").on(&host).ok();
    call("DEL").on(&host).ok();
    let before = HostState::of(&host);
    let (outcome, calls) = system_calls(&call("ADD"), &host);
    outcome.ok();
    call("DEL").on(&host).ok();
    for at in &calls {
        kill_at(&call("ADD"), &host, at);
        call("DEL").on(&host).ok();
        before.assert_same(&host, &format!("killed at {at:?}"));
    }
}

/// Writes what comes and goes until the changes beside the database have hardly any room left.
/// What `gather` changes is among them.
fn leave_no_room_beside(host: &Host, gather: &dyn Fn()) {
    const LONGEST: u64 = 1 << 15;
    const ROOM: u64 = 150;
    let length = || {
        let changes = host.state_dir().join("store.redb.delta");
        std::fs::metadata(changes).map_or(0, |file| file.len())
    };
    let come_and_go = |numbers: std::ops::Range<usize>| {
        let written = host.store().write(|transaction| {
            for number in numbers {
                let id = AttachmentId {
                    network: "other".try_into().unwrap(),
                    // Of different lengths, so that one of them fits.
                    container_id: format!("{number}{}", "x".repeat(number % 40))
                        .try_into()
                        .unwrap(),
                    ifname: "eth0".try_into().unwrap(),
                };
                transaction.insert_attachment(&AttachmentRecord::new(id.clone(), "test"))?;
                transaction.remove_attachment(&id)?;
            }
            Ok::<_, StoreError>(())
        });
        written.unwrap();
    };
    for number in 0..2000 {
        match length() {
            0..20_000 => {
                come_and_go(number * 101..number * 101 + 60);
                gather();
            }
            length if length + ROOM < LONGEST => come_and_go(number * 101..number * 101 + 1),
            _ => return,
        }
    }
    panic!("there is always room left");
}

/// Whoever has no room beside the database for a change makes all of them in it. Killed anywhere in that, what
/// was gathered before is there, and what the killed call began can be undone.
#[test]
fn gathered_changes_survive_a_kill() {
    let suite = Suite::weft();
    let host = Host::new();
    let conf = suite.ipam_conf("net", "10.1.0.0/24", host.dir());
    let call = |verb: &str, id: &str| {
        Call::new(&suite, verb, &conf)
            .id(id)
            .netns("/none".as_ref())
            .ifname("eth0")
    };
    leave_no_room_beside(&host, &|| {
        call("DEL", "gathered").on(&host).ok();
        call("ADD", "gathered").on(&host).ok();
    });
    let [database, changes] =
        ["store.redb", "store.redb.delta"].map(|name| host.state_dir().join(name));
    let full = [&database, &changes].map(|file| std::fs::read(file).unwrap());
    let text = String::from_utf8_lossy(&full[1]);
    assert!(text.contains("gathered"), "the control");
    let prepare = || {
        std::fs::write(&database, &full[0]).unwrap();
        std::fs::write(&changes, &full[1]).unwrap();
    };
    let leases = || host.store().read(|t| t.dump()).unwrap().leases;
    let before = leases();
    assert_eq!(before.len(), 1);
    let (outcome, calls) = system_calls(&call("ADD", "killed"), &host);
    outcome.ok();
    assert!(!changes.exists(), "the control: the database has them all");
    let mut killed = 0;
    for at in &calls {
        prepare();
        killed += usize::from(kill_at(&call("ADD", "killed"), &host, at));
        let after = leases();
        let is_kept = |(address, holder)| after.get(address) == Some(holder);
        assert!(before.iter().all(is_kept), "{after:?} killed at {at:?}");
        call("DEL", "killed").on(&host).ok();
        assert_eq!(leases(), before, "killed at {at:?}");
        let findings = host.store().read(|t| t.findings()).unwrap();
        assert!(findings.is_empty(), "{findings:?} killed at {at:?}");
    }
    let (few, all) = (calls.len() / 5, calls.len());
    assert!(killed + few >= all, "{killed} of {all} calls were killed");
}
