//! Which way a packet of a target goes, and why.

use std::net::IpAddr;

use weft_cni::IpFamily;

use crate::gateway::Wiring;
use crate::target::{MAIN, TargetPlan};

/// Which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// As it would without Weft.
    Direct {
        /// Why.
        reason: String,
    },
    /// Through the gateway, at this address.
    Gateway {
        /// The next hop.
        address: IpAddr,
        /// The rule that leads there.
        reason: String,
    },
    /// Nowhere.
    Closed {
        /// Why.
        reason: String,
    },
}

/// Decides as the kernel does, by the rules in their order.
pub fn way(
    plan: &TargetPlan,
    wiring: &Wiring,
    destination: IpAddr,
    protocol: Option<u8>,
    port: Option<u16>,
) -> Way {
    let family = IpFamily::of(destination);
    let rules: Vec<_> = plan
        .rules
        .iter()
        .filter(|one| one.family == family)
        .collect();
    if rules.is_empty() {
        let reason = match &plan.missing {
            Some(why) => format!("{why}, and on_missing is direct"),
            None => format!("nothing of {family:?} is led"),
        };
        return Way::Direct { reason };
    }
    let near = wiring
        .addresses
        .iter()
        .find(|(_, own)| own.contains(destination));
    if let Some((_, own)) = near {
        let reason = format!("it is in the network of its own address {own}");
        return Way::Direct { reason };
    }
    let found = rules.iter().find(|rule| {
        let narrowed = rule.narrowed;
        let is_in = |range: Option<(u16, u16)>| {
            range
                .is_none_or(|(first, last)| port.is_some_and(|port| (first..=last).contains(&port)))
        };
        rule.table != MAIN
            && rule.to.is_none_or(|to| to.contains(destination))
            && narrowed.protocol.is_none_or(|one| protocol == Some(one))
            && is_in(narrowed.destination_ports)
    });
    let Some(rule) = found else {
        let reason = "no rule leads it: another destination, protocol or port".to_owned();
        return Way::Direct { reason };
    };
    let to = rule
        .to
        .map_or_else(|| "all".to_owned(), |to| to.to_string());
    match (plan.hop(family, wiring), &plan.missing) {
        (Some((_, address)), _) => Way::Gateway {
            address,
            reason: format!(
                "the rule of priority {} to {to} leads to table {}",
                rule.priority, rule.table
            ),
        },
        (None, Some(why)) => Way::Closed {
            reason: why.clone(),
        },
        (None, None) => {
            let has = plan.hops.iter().any(|hop| family.has(hop.address));
            let reason = match has {
                true => "it has no interface in the network of its gateway".to_owned(),
                false => format!("its gateway has no address of {family:?} there"),
            };
            Way::Closed { reason }
        }
    }
}
