//! Rules as chains and sets of nf_tables.
//!
//! A selector that means containers is two sets of their addresses. A destination is a chain, so
//! that a connection looks at the rules for its destination only.
//!
//! Why it is so: docs/decisions/ruleset.md.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use weft_cni::IpFamily;
use weft_kernel::nft::{Chain, Expression, Name, Verdict};

use super::rule::{PortMatch, Rule};
use super::selector::{Selector, member_set_name};
use crate::ruleset::matching::{
    ACCEPT, FIRST, destination_port, input_name, is, is_in, is_no_weft_input, is_not, is_not_in,
    l4_protocol, network_layer, output_name,
};
use crate::ruleset::{
    CLOSED, DESTINATION, FamilyLayout as Family, INSIDE, IPV4, IPV6, NAT, POLICY, member_set,
};

/// A rule of nf_tables with what `nft` shows beside it.
pub(super) type Line = (Vec<Expression>, String);

/// What the rules need in the kernel.
#[derive(Debug, Default)]
pub(super) struct Structures {
    pub sets: BTreeSet<String>,
    /// The chain that all others hang on first.
    pub chains: Vec<(Chain, Vec<Line>)>,
}

fn chain_of(name: Name) -> Chain {
    Chain {
        table: NAT,
        name,
        base: None,
    }
}

impl Structures {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut by_destination: BTreeMap<&Selector, Vec<&Rule>> = BTreeMap::new();
        for rule in rules {
            by_destination.entry(&rule.to).or_default().push(rule);
        }
        let mut sets = BTreeSet::new();
        let mut dispatch = Vec::new();
        let mut chains = Vec::new();
        for (destination, rules) in by_destination {
            let text = destination.to_string();
            let name = format!("{DESTINATION}{}", destination.digest());
            let name = Name::from(name);
            for family in [&IPV4, &IPV6] {
                for mut parts in side(destination, family, Side::To, &mut sets) {
                    parts.push(Expression::Verdict(Verdict::Jump(name.clone())));
                    dispatch.push((parts, format!("to {text}")));
                }
            }
            let lines = rules
                .iter()
                .flat_map(|rule| lines(rule, &mut sets))
                .collect();
            chains.push((chain_of(name), lines));
        }
        chains.insert(0, (POLICY, dispatch));
        Self { sets, chains }
    }
}

/// Which side of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    From,
    To,
}

/// Not by the interface of a closed network. What leaves by none is for the host.
fn to_outside() -> [Expression; 3] {
    [output_name(FIRST), is_not(&[0; 16]), is_not_in(&CLOSED)]
}

/// Not by an interface of containers: they write what source they like.
fn from_outside() -> Vec<Expression> {
    let mut parts = is_no_weft_input();
    parts.extend([input_name(FIRST), is_not_in(&CLOSED), is_not_in(&INSIDE)]);
    parts
}

/// One side of a rule, in as many ways as it can match.
fn side(
    selector: &Selector,
    family: &Family,
    side: Side,
    sets: &mut BTreeSet<String>,
) -> Vec<Vec<Expression>> {
    let offset = match side {
        Side::From => family.source,
        Side::To => family.destination,
    };
    let start = || family.is_this().to_vec();
    match selector {
        Selector::Any => {
            let mut parts = start();
            if side == Side::To {
                parts.extend(to_outside());
            }
            vec![parts]
        }
        Selector::Addresses(networks) => networks
            .iter()
            .filter(|one| family.family.has(one.ip()))
            .map(|one| {
                let mut parts = start();
                if side == Side::From {
                    parts.extend(from_outside());
                }
                parts.extend(within(one, offset));
                parts
            })
            .collect(),
        Selector::Endpoints(_) => {
            let Some(set) = member_set(&member_set_name(selector, family.family)) else {
                return Vec::new();
            };
            sets.insert(set.name.to_string());
            let mut parts = start();
            parts.extend([network_layer(offset, family.length, FIRST), is_in(&set)]);
            vec![parts]
        }
    }
}

/// The address at an offset of the header is in a network.
fn within(network: &IpNetwork, offset: u32) -> Vec<Expression> {
    let (bytes, mask, length) = match network {
        IpNetwork::V4(v4) => (
            v4.network().octets().to_vec(),
            v4.mask().octets().to_vec(),
            4,
        ),
        IpNetwork::V6(v6) => (
            v6.network().octets().to_vec(),
            v6.mask().octets().to_vec(),
            16,
        ),
    };
    if network.prefix() == 0 {
        return Vec::new();
    }
    let mut parts = vec![network_layer(offset, length, FIRST)];
    if mask.iter().any(|byte| *byte != 0xff) {
        parts.push(Expression::Mask {
            register: FIRST,
            mask,
        });
    }
    parts.push(is(&bytes));
    parts
}

/// A rule's lines in the chain of its destination.
fn lines(rule: &Rule, sets: &mut BTreeSet<String>) -> Vec<Line> {
    let mut lines = Vec::new();
    for family in [&IPV4, &IPV6] {
        for from in side(&rule.from, family, Side::From, sets) {
            if rule.ports.is_empty() {
                let mut parts = from.clone();
                parts.push(ACCEPT);
                lines.push((parts, rule.origin.clone()));
            }
            for port in &rule.ports {
                let mut parts = from.clone();
                parts.extend(by(*port, family.family));
                parts.push(ACCEPT);
                lines.push((parts, rule.origin.clone()));
            }
        }
    }
    lines
}

fn by(port: PortMatch, family: IpFamily) -> Vec<Expression> {
    let mut parts = vec![l4_protocol(FIRST), is(&[port.protocol.number(family)])];
    match port.ports {
        None => {}
        Some((first, last)) if first == last => {
            parts.extend([destination_port(FIRST), is(&first.to_be_bytes())]);
        }
        Some((first, last)) => parts.extend([
            destination_port(FIRST),
            Expression::Range {
                register: FIRST,
                from: first.to_be_bytes().to_vec(),
                to: last.to_be_bytes().to_vec(),
            },
        ]),
    }
    parts
}
