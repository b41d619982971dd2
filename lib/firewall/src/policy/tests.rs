//! The kernel's rules and [`World::decide`] give the same answer to the same question.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weft_cni::{AttachmentId, IpFamily, Mac};
use weft_store::{AddressRecord, AttachmentRecord, HostLink, Isolation, LinkRecord};

use super::Endpoint;
use super::compile::Structures;
use super::decide::World;
use super::rule::{PortMatch, Protocol, Rule};
use super::selector::{Endpoints, Selector};
use super::state::State;
use crate::ruleset::trial::{Packet, Trial};
use crate::ruleset::{isolation_chains, isolation_elements};

fn record(
    network: &str,
    link: &str,
    name: &str,
    last: u8,
    isolation: Isolation,
) -> AttachmentRecord {
    let id = AttachmentId {
        network: network.try_into().unwrap(),
        container_id: format!("{network}-{name}").as_str().try_into().unwrap(),
        ifname: "eth0".try_into().unwrap(),
    };
    let mut record = AttachmentRecord::new(id, "test");
    record.name = Some(name.to_owned());
    record.labels.insert("app".to_owned(), name.to_owned());
    record.isolation = isolation;
    let third = link.as_bytes()[0];
    let address = |address: IpAddr, prefix| AddressRecord {
        address: ipnetwork::IpNetwork::new(address, prefix).unwrap(),
        gateway: None,
        pool: None,
        subnet_prefix: None,
    };
    record.addresses = vec![
        address([10, 1, third, last].into(), 32),
        address(
            [0xfd00, 0, 0, u16::from(third), 0, 0, 0, u16::from(last)].into(),
            128,
        ),
    ];
    record.link = LinkRecord::Port {
        host: HostLink {
            name: format!("veth{network}{name}"),
            mac: Mac([2, 0, 0, 0, third, last]),
            bridge: Some(link.to_owned()),
            hairpin: false,
            isolated: false,
            vlan: None,
            trunk: Vec::new(),
        },
        own: None,
    };
    record
}

fn endpoints(network: Option<&str>, name: Option<&str>) -> Selector {
    Selector::Endpoints(Endpoints {
        network: network.map(str::to_owned),
        name: name.map(str::to_owned),
        ..Endpoints::default()
    })
}

fn labelled(app: &str) -> Selector {
    Selector::Endpoints(Endpoints {
        labels: [("app".to_owned(), app.to_owned())].into(),
        ..Endpoints::default()
    })
}

fn rule(from: Selector, to: Selector, ports: &[&str]) -> Rule {
    let ports = ports.iter().map(|text| PortMatch::parse(text).unwrap());
    Rule {
        from,
        to,
        ports: ports.collect(),
        origin: "a test".to_owned(),
    }
}

/// Two closed networks and an open one, with two containers each.
fn records() -> Vec<AttachmentRecord> {
    let mut all = Vec::new();
    for (network, link, isolation) in [
        ("alpha", "a0", Isolation::Full),
        ("beta", "b0", Isolation::Full),
        ("mesh", "m0", Isolation::Mesh),
        ("open", "o0", Isolation::None),
    ] {
        for (name, last) in [("web", 2), ("db", 3)] {
            all.push(record(network, link, name, last, isolation));
        }
    }
    all
}

fn trial(state: &State, records: &[AttachmentRecord]) -> Trial {
    let mut trial = Trial::new(isolation_chains());
    let structures = Structures::of(&state.rules);
    for (chain, lines) in structures.chains {
        let rules = lines.into_iter().map(|(parts, _)| parts).collect();
        trial.fill(&chain.name, rules);
    }
    let mut links = BTreeSet::new();
    for record in records {
        let link = record.gateway_link().unwrap();
        if links.insert(link.clone()) {
            trial.add(&isolation_elements(&link, record.isolation));
        }
        trial.add(&Endpoint::from(record).memberships(&state.rules));
    }
    for (from, to) in &state.pairs {
        trial.add([&crate::ruleset::connection(from, to)]);
    }
    trial
}

/// An interface's name for as long as the test runs.
fn link_of(record: Option<&AttachmentRecord>) -> &'static str {
    let links = ["a0", "b0", "m0", "o0"];
    let link = record.and_then(AttachmentRecord::gateway_link);
    links
        .into_iter()
        .find(|one| Some(*one) == link.as_deref())
        .unwrap_or("eth0")
}

/// Asks both about every pair of parties, by both families and several ports. How many are allowed.
fn compare(rules: Vec<Rule>) -> usize {
    let records = records();
    let pairs = BTreeSet::from([("a0".to_owned(), "m0".to_owned())]);
    let state = State { rules, pairs };
    let trial = trial(&state, &records);
    let world = World::of(state, records.clone());
    let outside: [IpAddr; 2] = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
    let addresses: Vec<IpAddr> = records
        .iter()
        .flat_map(|record| record.addresses.iter().map(|one| one.address.ip()))
        .chain(outside)
        .collect();
    let mut allowed = 0;
    for from in &addresses {
        for to in addresses.iter().filter(|to| *to != from) {
            if IpFamily::of(*from) != IpFamily::of(*to) {
                continue;
            }
            let (one, other) = (world.party(*from), world.party(*to));
            let links = (link_of(one.record), link_of(other.record));
            // Neighbours on one bridge that is not closed to itself do not pass the host.
            if links.0 == links.1
                && other
                    .record
                    .is_none_or(|one| one.isolation != Isolation::Full)
            {
                continue;
            }
            for port in [80, 81, 5432] {
                let packet = Packet::tcp(&from.to_string(), &to.to_string(), port);
                let passes = trial.passes("forward", &packet.by(links.0, links.1));
                let decision = world.decide(one, other, Protocol::Tcp, Some(port));
                assert_eq!(
                    passes, decision.is_allowed,
                    "{from} to {to} port {port}: {}",
                    decision.reason
                );
                allowed += usize::from(passes);
            }
        }
    }
    allowed
}

#[test]
fn without_rules_closed_networks_stay_closed() {
    let open = compare(Vec::new());
    assert!(open > 0, "open networks are");
}

#[test]
fn both_give_the_same_answer() {
    let without = compare(Vec::new());
    let any = || Selector::Any;
    let prefix = |text: &str| Selector::Addresses(vec![text.parse().unwrap()]);
    for (what, rules) in [
        (
            "by name",
            vec![rule(
                endpoints(Some("alpha"), Some("web")),
                endpoints(Some("alpha"), Some("db")),
                &["tcp/5432"],
            )],
        ),
        (
            "by label",
            vec![rule(labelled("web"), labelled("db"), &["tcp/80-81"])],
        ),
        (
            "by network",
            vec![rule(
                endpoints(Some("alpha"), None),
                endpoints(Some("beta"), None),
                &[],
            )],
        ),
        (
            "everybody",
            vec![rule(any(), endpoints(None, Some("web")), &["tcp/80"])],
        ),
        (
            "outside",
            vec![rule(endpoints(Some("alpha"), None), any(), &["tcp"])],
        ),
        (
            "a prefix",
            vec![rule(
                prefix("192.0.2.0/24"),
                endpoints(Some("beta"), None),
                &["tcp/80"],
            )],
        ),
        (
            "to a prefix",
            vec![rule(
                endpoints(Some("beta"), None),
                prefix("2001:db8::/32"),
                &[],
            )],
        ),
        (
            "several",
            vec![
                rule(
                    labelled("web"),
                    endpoints(Some("beta"), Some("db")),
                    &["tcp/5432"],
                ),
                rule(any(), endpoints(Some("alpha"), None), &["tcp/81"]),
            ],
        ),
    ] {
        let allowed = compare(rules);
        assert!(allowed > without, "{what} opens nothing");
    }
    for (what, rules) in [
        (
            "UDP alone",
            vec![rule(any(), endpoints(Some("alpha"), None), &["udp/80"])],
        ),
        (
            "nobody has the name",
            vec![rule(any(), endpoints(None, Some("none")), &[])],
        ),
    ] {
        assert_eq!(compare(rules), without, "{what} opens something");
    }
}

#[test]
fn a_destination_is_one_chain_and_a_selector_two_sets() {
    let web = || endpoints(None, Some("web"));
    let db = || endpoints(None, Some("db"));
    for (rules, chains, sets) in [
        (vec![], 1, 0),
        (vec![rule(web(), db(), &[])], 2, 4),
        (
            vec![
                rule(web(), db(), &[]),
                rule(Selector::Any, db(), &["tcp/80"]),
            ],
            2,
            4,
        ),
        (vec![rule(web(), db(), &[]), rule(db(), web(), &[])], 3, 4),
    ] {
        let structures = Structures::of(&rules);
        assert_eq!(
            (structures.chains.len(), structures.sets.len()),
            (chains, sets),
            "{rules:?}"
        );
    }
}
