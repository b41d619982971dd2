#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use super::*;
use crate::container::{NetnsPlace, Source};

fn id(id: &str) -> ContainerId {
    ContainerId {
        source: Source::Docker,
        id: id.to_owned(),
    }
}

/// A running container: its labels as `key=value`, its networks as `name=address`.
fn container(name: &str, labels: &[&str], networks: &[&str]) -> Container {
    let pairs = |all: &[&str]| -> Vec<(String, String)> {
        all.iter()
            .map(|one| one.split_once('=').unwrap())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let mut found: BTreeMap<String, Endpoint> = BTreeMap::new();
    for (network, address) in pairs(networks) {
        let endpoint = found.entry(network).or_default();
        endpoint.is_meeting = true;
        endpoint.addresses.push(address.parse().unwrap());
        endpoint.gateways.push("192.0.2.1".parse().unwrap());
    }
    Container {
        name: name.to_owned(),
        labels: pairs(labels).into_iter().collect(),
        networks: found,
        netns: Some(NetnsPlace {
            path: "/x".into(),
            dev: 1,
            ino: 1,
        }),
        is_running: true,
        ..Container::default()
    }
}

fn target(engine: &Engine, name: &str) -> TargetPlan {
    match engine.plan(&id(name)) {
        Plan::Target(plan) => plan,
        other @ (Plan::Nothing | Plan::Gateway(_)) => panic!("{other:?}"),
    }
}

fn hops(plan: &TargetPlan) -> Vec<String> {
    let hops = plan.hops.iter();
    hops.map(|hop| format!("{}={}", hop.network, hop.address))
        .collect()
}

fn engine() -> Engine {
    Engine::new(WarpConfig::default())
}

#[test]
fn a_target_follows_its_gateway() {
    let mut engine = engine();
    engine.put(
        id("t"),
        container("t", &["weft.warp.via=warp-a"], &["n=10.0.0.9/24"]),
    );
    let plan = target(&engine, "t");
    assert!(plan.hops.is_empty() && plan.rules.len() == 4);
    assert_eq!(plan.missing.as_deref(), Some("there is no gateway warp-a"));
    let changed = engine.put(id("g"), container("warp-a", &[], &["n=10.0.0.2/24"]));
    assert_eq!(changed, BTreeSet::from([id("g"), id("t")]));
    assert_eq!(hops(&target(&engine, "t")), ["n=10.0.0.2"]);
    // It comes back at another address.
    let mut stopped = container("warp-a", &[], &["n=10.0.0.2/24"]);
    stopped.is_running = false;
    engine.put(id("g"), stopped);
    let plan = target(&engine, "t");
    assert!(plan.hops.is_empty());
    assert_eq!(
        plan.missing.as_deref(),
        Some("the gateway warp-a does not run")
    );
    engine.put(id("g"), container("warp-a", &[], &["n=10.0.0.4/24"]));
    assert_eq!(hops(&target(&engine, "t")), ["n=10.0.0.4"]);
    assert!(engine.remove(&id("g")).contains(&id("t")));
    assert!(target(&engine, "t").hops.is_empty());
}

#[test]
fn a_name_is_the_whole_name_and_one_source_is_not_another() {
    let mut engine = engine();
    engine.put(
        id("t"),
        container("t", &["weft.warp.via=warp-a"], &["n=10.0.0.9/24"]),
    );
    engine.put(id("g"), container("warp-ab", &[], &["n=10.0.0.2/24"]));
    let podman = ContainerId {
        source: Source::Podman,
        id: "p".to_owned(),
    };
    engine.put(podman, container("warp-a", &[], &["n=10.0.0.3/24"]));
    assert!(target(&engine, "t").hops.is_empty());
    // A container that is named, but is no gateway, is not made one.
    engine.put(id("x"), container("other", &[], &["n=10.0.0.5/24"]));
    engine.put(
        id("t"),
        container("t", &["weft.warp.via=other"], &["n=10.0.0.9/24"]),
    );
    let missing = target(&engine, "t").missing.unwrap();
    assert!(missing.contains("other is no gateway"), "{missing}");
}

#[test]
fn networks_are_chosen_by_preference() {
    let mut engine = engine();
    let gateway = ["a=10.1.0.2/24", "b=10.2.0.2/24", "c=10.3.0.2/24"];
    engine.put(id("g"), container("warp-a", &["role=vpn"], &gateway));
    let own = ["a=10.1.0.9/24", "b=10.2.0.9/24"];
    let mut hops_of = |labels: &[&str]| {
        engine.put(id("t"), container("t", labels, &own));
        hops(&target(&engine, "t"))
    };
    assert_eq!(
        hops_of(&["weft.warp.via=warp-a"]),
        ["a=10.1.0.2", "b=10.2.0.2"]
    );
    assert_eq!(
        hops_of(&["weft.warp.via=role=vpn", "weft.warp.network=b"]),
        ["b=10.2.0.2", "a=10.1.0.2"]
    );
    assert_eq!(hops_of(&["weft.warp.via=b/role=vpn"]), ["b=10.2.0.2"]);
    assert!(hops_of(&["weft.warp.via=c/warp-a"]).is_empty());
    // The way out is by a network in which no target is.
    let mut egress = |labels: &[&str]| {
        engine.put(id("t"), container("t", labels, &own));
        match engine.plan(&id("g")) {
            Plan::Gateway(plan) => plan.egress.map(|(name, _)| name),
            other @ (Plan::Nothing | Plan::Target(_)) => panic!("{other:?}"),
        }
    };
    assert_eq!(egress(&["weft.warp.via=warp-a"]).as_deref(), Some("b"));
    assert_eq!(egress(&["weft.warp.via=b/warp-a"]).as_deref(), Some("a"));
    assert_eq!(egress(&[]), None);
}

#[test]
fn a_choice_is_kept_while_it_will_do() {
    let mut engine = engine();
    let role = ["role=vpn", "weft.warp.gateway=true"];
    engine.put(id("g2"), container("two", &role, &["n=10.0.0.2/24"]));
    engine.put(
        id("t"),
        container("t", &["weft.warp.via=role=vpn"], &["n=10.0.0.9/24"]),
    );
    engine.put(id("g1"), container("one", &role, &["n=10.0.0.1/24"]));
    assert_eq!(hops(&target(&engine, "t")), ["n=10.0.0.2"]);
    engine.remove(&id("g2"));
    assert_eq!(hops(&target(&engine, "t")), ["n=10.0.0.1"]);
}

#[test]
fn ipv6_is_closed_or_kept_where_the_gateway_has_none() {
    let mut engine = engine();
    engine.put(id("g"), container("warp-a", &[], &["n=10.0.0.2/24"]));
    let own = ["n=10.0.0.9/24", "n=fd00::9/64"];
    let via = "weft.warp.via=warp-a";
    engine.put(id("t"), container("t", &[via], &own));
    assert!(target(&engine, "t").leads(IpFamily::V6));
    engine.put(id("t"), container("t", &[via, "weft.warp.ipv6=keep"], &own));
    assert!(!target(&engine, "t").leads(IpFamily::V6));
    let both = ["n=10.0.0.2/24", "n=fd00::2/64"];
    engine.put(id("g"), container("warp-a", &[], &both));
    let plan = target(&engine, "t");
    assert!(plan.leads(IpFamily::V6));
    assert_eq!(hops(&plan), ["n=10.0.0.2", "n=fd00::2"]);
}

#[test]
fn without_a_gateway_it_is_as_asked() {
    let mut engine = engine();
    for (word, is_closed) in [("block", true), ("wait", true), ("direct", false)] {
        let labels = ["weft.warp.via=gw", &format!("weft.warp.on-missing={word}")];
        engine.put(id("t"), container("t", &labels, &["n=10.0.0.9/24"]));
        assert_eq!(
            target(&engine, "t").leads(IpFamily::V4),
            is_closed,
            "{word}"
        );
    }
    // A label that cannot be understood opens nothing.
    engine.put(id("t"), container("t", &["weft.warp.via=a/b/c"], &[]));
    let plan = target(&engine, "t");
    assert!(plan.leads(IpFamily::V4) && plan.leads(IpFamily::V6));
    assert!(plan.missing.unwrap().contains("weft.warp.via"));
}
