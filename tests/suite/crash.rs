//! Killed at every system call in turn, one DEL (or GC) leaves the host as it was before.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Host, HostState, Suite, kill_at, system_calls};

/// How what a killed call left is cleaned.
#[derive(Clone, Copy, PartialEq)]
enum Cleaner {
    Del,
    Gc,
}

/// A network with everything this plugin makes, dual stack.
fn conf(suite: &Suite, host: &Host, cleanup: bool) -> Value {
    let mut conf = suite.bridge_conf("net", "10.1.0.0/24", host.dir());
    conf["cniVersion"] = "1.1.0".into();
    conf["ipMasq"] = json!({"exclude": ["10.200.0.0/16"]});
    conf["macspoofchk"] = true.into();
    conf["hairpinMode"] = true.into();
    conf["cleanup"] = cleanup.into();
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
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

/// A host that has forwarding on and, unless cleanup is wanted, the bridge from a warm-up.
fn prepared(suite: &Suite, cleanup: bool) -> (Host, Value, HostState) {
    let host = Host::new();
    host.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    let conf = conf(suite, &host, cleanup);
    if !cleanup {
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

fn killed_add(cleanup: bool, cleaner: Cleaner) {
    let suite = Suite::weft();
    let (host, conf, before) = prepared(&suite, cleanup);
    let container = host.container();
    let call = Call::new(&suite, "ADD", &conf).container(&container);
    // Once untraced: the very first call also makes the store's files, which then stay.
    call.on(&host).ok();
    clean(&suite, &host, &conf, &container, cleaner);
    let (outcome, calls) = system_calls(&call, &host);
    outcome.ok();
    clean(&suite, &host, &conf, &container, cleaner);
    before.assert_same(&host, "an ADD that was not killed");
    assert!(calls.len() > 50, "only {} system calls traced", calls.len());
    let mut killed = 0;
    for at in &calls {
        killed += usize::from(kill_at(&call, &host, at));
        clean(&suite, &host, &conf, &container, cleaner);
        let differences = before.differences(&HostState::of(&host));
        assert!(
            differences.is_empty(),
            "killed at {at:?}:\n{}",
            differences.join("\n")
        );
        assert!(
            !container.succeeds("ip link show eth0"),
            "killed at {at:?}: eth0 is left"
        );
    }
    // The very last calls are the exit itself.
    assert!(
        killed + 3 >= calls.len(),
        "{killed} of {} calls were killed",
        calls.len()
    );
}

fn killed_del(cleanup: bool, cleaner: Cleaner) {
    let suite = Suite::weft();
    let (host, conf, before) = prepared(&suite, cleanup);
    let container = host.container();
    let add = Call::new(&suite, "ADD", &conf).container(&container);
    let del = Call::new(&suite, "DEL", &conf).container(&container);
    add.on(&host).ok();
    let (outcome, calls) = system_calls(&del, &host);
    outcome.ok();
    before.assert_same(&host, "a DEL that was not killed");
    for at in &calls {
        add.on(&host).ok();
        kill_at(&del, &host, at);
        clean(&suite, &host, &conf, &container, cleaner);
        let differences = before.differences(&HostState::of(&host));
        assert!(
            differences.is_empty(),
            "killed at {at:?}:\n{}",
            differences.join("\n")
        );
        assert!(
            !container.succeeds("ip link show eth0"),
            "killed at {at:?}: eth0 is left"
        );
    }
}

#[test]
fn add_killed_anywhere_then_del() {
    killed_add(false, Cleaner::Del);
}

#[test]
fn add_killed_anywhere_then_gc() {
    killed_add(false, Cleaner::Gc);
}

/// The first attachment of a host makes bridge, gateway and tables; with `cleanup` all go again.
#[test]
fn first_add_killed_anywhere_then_del() {
    killed_add(true, Cleaner::Del);
}

#[test]
fn del_killed_anywhere_then_del() {
    killed_del(false, Cleaner::Del);
}

#[test]
fn del_killed_anywhere_then_gc() {
    killed_del(false, Cleaner::Gc);
}

#[test]
fn last_del_killed_anywhere_then_del() {
    killed_del(true, Cleaner::Del);
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
