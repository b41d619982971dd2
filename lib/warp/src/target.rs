//! The rules and routes of a target.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_cni::{IpFamily, Mac};
use weft_kernel::policy_routing::{Narrowed, OwnRoute, OwnRule, Via};

use crate::config::WarpConfig;
use crate::gateway::Wiring;
use crate::rule::RoutingRule;

/// RT_TABLE_MAIN.
pub(crate) const MAIN: u32 = 254;
/// The metric of what leads nowhere: everything else comes first.
const LAST: u32 = u32::MAX;
/// The metric of the route by the gateway.
const FIRST: u32 = 100;

/// A gateway's address, as a next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The network that it is in.
    pub network: String,
    /// The gateway's address.
    pub address: IpAddr,
    /// The target's own addresses in this network, as far as they are known: they tell the interface where the network's
    /// prefix does not.
    pub own: Vec<IpAddr>,
    /// The gateway's MAC, if it is to be set for good: nobody else is asked for it then.
    pub mac: Option<Mac>,
}

/// What is wanted in a target's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetPlan {
    /// All rules that have Weft's number.
    pub rules: Vec<OwnRule>,
    /// The table that they lead to.
    pub table: u32,
    /// Where to, in the order of preference.
    pub hops: Vec<Hop>,
    /// Why there is no gateway.
    pub missing: Option<String>,
}

/// The prefix of all addresses of a family.
pub(crate) fn everything(family: IpFamily) -> IpNetwork {
    let any = family.unspecified();
    IpNetwork::new(any, 0).unwrap_or_else(|_| any.into())
}

/// The rules that lead one family's packets to the table.
pub(crate) fn rules(
    config: &WarpConfig,
    family: IpFamily,
    wanted: &[RoutingRule],
    published: &BTreeSet<(u8, u16)>,
) -> Vec<OwnRule> {
    let (table, priority) = (config.table, config.priority);
    let rule = |priority, table, to, narrowed| OwnRule {
        priority,
        family,
        iif: None,
        oif: None,
        to,
        narrowed,
        table,
    };
    let led: BTreeSet<OwnRule> = wanted
        .iter()
        .flat_map(|one| selectors(one, family))
        .map(|(to, narrowed)| rule(priority + 2, table, to, narrowed))
        .collect();
    if led.is_empty() {
        return Vec::new();
    }
    // Answers of a published port leave as they came.
    let answers = published.iter().map(|(protocol, port)| {
        let narrowed = Narrowed {
            protocol: Some(*protocol),
            source_ports: Some((*port, *port)),
            ..Narrowed::default()
        };
        rule(priority, MAIN, None, narrowed)
    });
    // Neighbours, and what somebody has a route of its own for.
    let near = Narrowed {
        longer_than: Some(0),
        ..Narrowed::default()
    };
    let near = rule(priority + 1, MAIN, None, near);
    answers.chain([near]).chain(led).collect()
}

fn selectors(rule: &RoutingRule, family: IpFamily) -> Vec<(Option<IpNetwork>, Narrowed)> {
    const ICMP: u8 = 1;
    const ICMPV6: u8 = 58;
    let destinations: Vec<Option<IpNetwork>> = match rule.destinations.as_slice() {
        [] => vec![None],
        some => (some.iter().filter(|one| family.has(one.ip())))
            .map(|one| Some(*one).filter(|one| one.prefix() > 0))
            .collect(),
    };
    let mut kinds = Vec::new();
    for ports in &rule.ports {
        let is_other = match family {
            IpFamily::V4 => ports.protocol == ICMPV6,
            IpFamily::V6 => ports.protocol == ICMP,
        };
        if is_other {
            continue;
        }
        let narrowed = Narrowed {
            protocol: Some(ports.protocol),
            ..Narrowed::default()
        };
        if ports.ranges.is_empty() {
            kinds.push(narrowed);
        }
        kinds.extend(ports.ranges.iter().map(|range| Narrowed {
            destination_ports: Some(*range),
            ..narrowed
        }));
    }
    if rule.ports.is_empty() {
        kinds.push(Narrowed::default());
    }
    let with_kinds = |to: Option<IpNetwork>| kinds.iter().map(move |kind| (to, *kind));
    destinations.into_iter().flat_map(with_kinds).collect()
}

impl TargetPlan {
    /// Whether anything of a family is led.
    pub fn leads(&self, family: IpFamily) -> bool {
        self.rules.iter().any(|one| one.family == family)
    }

    /// The routes of the table, with the interfaces that the namespace has now: by the gateway where it can be reached,
    /// and behind that nowhere.
    pub fn routes(&self, wiring: &Wiring) -> Vec<OwnRoute> {
        let mut routes = Vec::new();
        for family in IpFamily::ALL {
            if !self.leads(family) {
                continue;
            }
            let route = |metric, link, via| OwnRoute {
                table: self.table,
                prefix: everything(family),
                metric,
                link,
                via,
            };
            if let Some((link, address)) = self.hop(family, wiring) {
                routes.push(route(FIRST, link, Via::Gateway(address)));
            }
            routes.push(route(LAST, 0, Via::Unreachable));
        }
        routes
    }

    /// The MACs of next hops that are to be set for good.
    pub fn neighbours(&self, wiring: &Wiring) -> Vec<(u32, IpAddr, Mac)> {
        let in_force = IpFamily::ALL
            .into_iter()
            .filter_map(|family| self.hop(family, wiring));
        in_force
            .filter_map(|(link, address)| {
                let hop = self.hops.iter().find(|hop| hop.address == address)?;
                Some((link, address, hop.mac?))
            })
            .collect()
    }

    /// The first next hop that there is an interface to.
    pub fn hop(&self, family: IpFamily, wiring: &Wiring) -> Option<(u32, IpAddr)> {
        let hops = self.hops.iter().filter(|hop| family.has(hop.address));
        hops.into_iter()
            .find_map(|hop| Some((wiring.link_to(hop)?, hop.address)))
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;
    use crate::rule::parse_rules;

    fn texts(rules: &str, family: IpFamily) -> Vec<String> {
        let published = BTreeSet::from([(6, 80)]);
        let all = super::rules(
            &WarpConfig::default(),
            family,
            &parse_rules(rules).unwrap(),
            &published,
        );
        let text = |one: &OwnRule| {
            let to = one.to.map(|to| format!(" to {to}")).unwrap_or_default();
            let n = one.narrowed;
            format!(
                "{}{to}{}{}{}{} -> {}",
                one.priority,
                n.protocol
                    .map(|p| format!(" proto {p}"))
                    .unwrap_or_default(),
                n.source_ports
                    .map(|p| format!(" sport {}", p.0))
                    .unwrap_or_default(),
                n.destination_ports
                    .map(|p| format!(" dport {}-{}", p.0, p.1))
                    .unwrap_or_default(),
                n.longer_than
                    .map(|l| format!(" longer than {l}"))
                    .unwrap_or_default(),
                one.table
            )
        };
        all.iter().map(text).collect()
    }

    #[test]
    fn everything_takes_three_rules() {
        let wanted = [
            "98 proto 6 sport 80 -> 254",
            "99 longer than 0 -> 254",
            "100 -> 77",
        ];
        assert_eq!(texts("all", IpFamily::V4), wanted);
        assert_eq!(texts("all", IpFamily::V6), wanted);
    }

    #[test]
    fn destinations_and_ports_are_told_by_rules() {
        let all = texts(
            "10.0.0.0/8 2001:db8::/32 tcp:443,5000-5010 udp icmp",
            IpFamily::V4,
        );
        assert_eq!(
            all[2..],
            [
                "100 to 10.0.0.0/8 proto 1 -> 77",
                "100 to 10.0.0.0/8 proto 6 dport 443-443 -> 77",
                "100 to 10.0.0.0/8 proto 6 dport 5000-5010 -> 77",
                "100 to 10.0.0.0/8 proto 17 -> 77",
            ]
        );
        let all = texts("10.0.0.0/8 2001:db8::/32 tcp:443", IpFamily::V6);
        assert_eq!(
            all[2..],
            ["100 to 2001:db8::/32 proto 6 dport 443-443 -> 77"]
        );
        // What is not led is as it was.
        assert!(texts("10.0.0.0/8", IpFamily::V6).is_empty());
        assert!(texts("all icmp", IpFamily::V6).is_empty());
    }

    #[test]
    fn routes_need_an_interface_and_end_nowhere() {
        let config = WarpConfig::default();
        let everything = [RoutingRule::default()];
        let mut plan = TargetPlan {
            rules: rules(&config, IpFamily::V4, &everything, &BTreeSet::new()),
            table: config.table,
            hops: vec![Hop {
                network: "n".to_owned(),
                address: "10.0.0.2".parse().unwrap(),
                own: Vec::new(),
                mac: None,
            }],
            missing: None,
        };
        let mut wiring = Wiring::default();
        assert_eq!(plan.routes(&wiring).len(), 1);
        wiring.addresses.push((7, "10.0.0.9/24".parse().unwrap()));
        let routes = plan.routes(&wiring);
        assert_eq!((routes.len(), routes[0].link), (2, 7));
        assert_eq!(routes[1].via, Via::Unreachable);
        // An address alone on its link says nothing of its neighbours.
        wiring.addresses = vec![(7, "10.0.0.9/32".parse().unwrap())];
        assert_eq!(plan.routes(&wiring).len(), 1);
        plan.hops[0].own.push("10.0.0.9".parse().unwrap());
        assert_eq!(plan.routes(&wiring).len(), 2);
    }
}
