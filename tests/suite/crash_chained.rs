//! Chained plugins, killed at every system call in turn.

use serde_json::{Value, json};
use weft_testkit::{Call, Host, HostState, Suite, kill_at, system_calls};

/// What a chained plugin adds to an interface that stays: killed anywhere, one DEL takes all of it
/// back.
fn chained_killed_at_each(victim: &str, first: Option<&str>, keys: &Value) {
    let suite = Suite::weft();
    let host = Host::new();
    let container = host.container();
    if keys["type"] == "weft-dns" {
        // Questions have to be let through then.
        host.sh("iptables-nft -P INPUT DROP && ip6tables-nft -P INPUT DROP");
    }
    let mut interface = suite.network_conf("net", "10.1.0.0/24", host.dir());
    interface["ipMasq"] = true.into();
    interface["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
    if keys["type"] == "weft-warp" {
        // Nothing but the pair is open then.
        interface["isolation"] = "full".into();
    }
    let call = |verb: &str, conf: &Value| Call::new(&suite, verb, conf).container(&container);
    let gateway = host.container();
    if keys["via"].is_string() {
        let lead = |conf: &Value| {
            let call = Call::new(&suite, "ADD", conf).container(&gateway);
            call.on(&host).ok()
        };
        let prev = lead(&interface);
        lead(
            &json!({"cniVersion": "1.0.0", "name": "net", "prevResult": prev, "type": "weft-warp",
            "gateway": true}),
        );
    }
    let prev = call("ADD", &interface).on(&host).ok();
    let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "prevResult": prev});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    call("ADD", &conf).on(&host).ok();
    call("DEL", &conf).on(&host).ok();
    let inside = || {
        let state = "nft list ruleset; ip rule; ip -6 rule; sysctl net.ipv4.ip_forward; \
            for family in -4 -6; do ip $family route show table all; ip $family neigh show nud permanent; done";
        let of_gateway = gateway.sh(state);
        container.sh("tc qdisc show dev eth0") + &container.sh(state) + &of_gateway
    };
    let (before, limits) = (HostState::of(&host), inside());
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
        before.assert_same(&host, &format!("{keys} {victim} killed at {at:?}"));
        assert_eq!(inside(), limits, "{keys} {victim} killed at {at:?}");
    }
}

fn portmap() -> Value {
    json!({"type": "weft-portmap", "masqAll": true, "runtimeConfig": {"portMappings": [
        {"hostPort": 8080, "containerPort": 80},
        {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}]}})
}

fn firewall() -> Value {
    json!({"type": "weft-firewall", "ingressPolicy": "isolated"})
}

fn bandwidth() -> Value {
    json!({"type": "weft-bandwidth", "ingressRate": 8_000_000, "egressRate": 8_000_000,
        "limits": {"packetsPerSecond": 1000, "newConnectionsPerSecond": 100, "connections": 100}})
}

/// Without the daemon: with it, what is recorded is the same.
fn dns() -> Value {
    json!({"type": "weft-dns", "runtimeConfig": {"aliases": ["www"]}})
}

fn target() -> Value {
    json!({"type": "weft-warp", "via": "weft.warp.gateway=true"})
}

fn gateway() -> Value {
    json!({"type": "weft-warp", "gateway": true})
}

#[test]
fn warp_add_killed_anywhere_then_del() {
    chained_killed_at_each("ADD", None, &target());
}

#[test]
fn warp_del_killed_anywhere_then_del() {
    chained_killed_at_each("DEL", Some("ADD"), &target());
}

#[test]
fn warp_gateway_add_killed_anywhere_then_del() {
    chained_killed_at_each("ADD", None, &gateway());
}

#[test]
fn warp_gateway_del_killed_anywhere_then_del() {
    chained_killed_at_each("DEL", Some("ADD"), &gateway());
}

#[test]
fn dns_add_killed_anywhere_then_del() {
    chained_killed_at_each("ADD", None, &dns());
}

#[test]
fn dns_del_killed_anywhere_then_del() {
    chained_killed_at_each("DEL", Some("ADD"), &dns());
}

#[test]
fn bandwidth_add_killed_anywhere_then_del() {
    chained_killed_at_each("ADD", None, &bandwidth());
}

#[test]
fn bandwidth_del_killed_anywhere_then_del() {
    chained_killed_at_each("DEL", Some("ADD"), &bandwidth());
}

#[test]
fn firewall_add_killed_anywhere_then_del() {
    chained_killed_at_each("ADD", None, &firewall());
}

#[test]
fn firewall_del_killed_anywhere_then_del() {
    chained_killed_at_each("DEL", Some("ADD"), &firewall());
}

#[test]
fn portmap_add_killed_anywhere_then_del() {
    chained_killed_at_each("ADD", None, &portmap());
}

#[test]
fn portmap_del_killed_anywhere_then_del() {
    chained_killed_at_each("DEL", Some("ADD"), &portmap());
}
