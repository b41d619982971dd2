//! Killed at every system call in turn, one DEL (or GC) leaves the host as it was before.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Host, HostState, Suite, kill_at, system_calls};

/// How what a killed call left is cleaned.
#[derive(Clone, Copy, PartialEq)]
enum Cleaner {
    Del,
    Gc,
}

/// Which network.
#[derive(Clone, Copy, PartialEq)]
enum Network {
    /// Bridge, gateway and tables are there from a warm-up, and stay.
    Warm,
    /// Every attachment is the first and the last: all of it comes and goes.
    Cold,
    /// The same with an uplink, and a MAC that has to be announced.
    ColdWithUplink,
}

/// A network with everything this plugin makes, dual stack.
fn conf(suite: &Suite, host: &Host, network: Network) -> Value {
    let mut conf = suite.network_conf("net", "10.1.0.0/24", host.dir());
    conf["cniVersion"] = "1.1.0".into();
    conf["ipMasq"] = json!({"exclude": ["10.200.0.0/16"]});
    conf["macspoofchk"] = true.into();
    conf["hairpinMode"] = true.into();
    conf["cleanup"] = (network != Network::Warm).into();
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
    if network == Network::ColdWithUplink {
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
    let conf = conf(suite, &host, network);
    if network == Network::Warm {
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
fn kill_at_each(victim: &str, first: Option<&str>, network: Network, cleaner: Cleaner) {
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
    let mut killed = 0;
    for at in &calls {
        prepare();
        killed += usize::from(kill_at(&call(victim), &host, at));
        clean(&suite, &host, &conf, &container, cleaner);
        before.assert_same(&host, &format!("{victim} killed at {at:?}"));
        let is_left = container.succeeds("ip link show eth0");
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
    kill_at_each("ADD", None, Network::Cold, Cleaner::Del);
}

#[test]
fn first_add_with_uplink_killed_anywhere_then_gc() {
    kill_at_each("ADD", None, Network::ColdWithUplink, Cleaner::Gc);
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
    kill_at_each("DEL", Some("ADD"), Network::Cold, Cleaner::Del);
}

#[test]
fn last_del_with_uplink_killed_anywhere_then_del() {
    kill_at_each("DEL", Some("ADD"), Network::ColdWithUplink, Cleaner::Del);
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
