//! What a gateway needs in its namespace to send on what targets send it.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_cni::{IpFamily, Mac};
use weft_kernel::policy_routing::{Narrowed, OwnRoute, OwnRule, Via};

use crate::container::Endpoint;
use crate::target::{Hop, MAIN, everything};

/// The routing table of a gateway's way out.
pub const EGRESS_TABLE: u32 = 78;
/// Just before the main table's, and behind the rules that VPN clients add: those take the highest free numbers below it.
const EGRESS_PRIORITY: u32 = 32_764;
const EGRESS_METRIC: u32 = 100;

/// The interfaces and default routes of a namespace, as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wiring {
    /// Addresses with their interface's index.
    pub addresses: Vec<(u32, IpNetwork)>,
    /// Default routes of the main table in the order in which the kernel takes them: family and interface.
    pub defaults: Vec<(IpFamily, u32)>,
}

impl Wiring {
    /// The interface by which a next hop is reached.
    pub fn link_to(&self, hop: &Hop) -> Option<u32> {
        let is_near = |own: &IpNetwork| {
            let is_alone = own.prefix() == IpFamily::of(own.ip()).bits();
            own.contains(hop.address) && !is_alone
        };
        let is_own = |own: &IpNetwork| hop.own.contains(&own.ip());
        let mut all = self.addresses.iter();
        all.find(|(_, own)| is_near(own) || is_own(own))
            .map(|(link, _)| *link)
    }

    fn link_with(&self, address: IpAddr) -> Option<u32> {
        let mut all = self.addresses.iter();
        all.find(|(_, own)| own.ip() == address)
            .map(|(link, _)| *link)
    }

    fn link_of(&self, endpoint: &Endpoint, family: IpFamily) -> Option<u32> {
        let is_own = |own: &IpNetwork| endpoint.addresses.iter().any(|one| one.ip() == own.ip());
        let mut all = self.addresses.iter();
        all.find(|(_, own)| family.has(own.ip()) && is_own(own))
            .map(|(link, _)| *link)
    }
}

/// A target that a gateway reaches only because it is told how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// The target's address.
    pub address: IpAddr,
    /// The target's MAC.
    pub mac: Mac,
    /// The gateway's own addresses there.
    pub own: Vec<IpAddr>,
}

/// What is wanted in a gateway's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewayPlan {
    /// The networks in which targets are: what comes from there and leaves by another way has the gateway's address.
    pub subnets: Vec<IpNetwork>,
    /// The networks that it meets targets in.
    pub shared: Vec<Endpoint>,
    /// The network by which it sends on, with its name.
    pub egress: Option<(String, Endpoint)>,
    /// The only interface by which what comes from there may leave. One whose name cannot be is none: nothing leaves then.
    pub interface: Option<String>,
    /// Targets whose network leads to them by its router alone: their addresses and MAC, and the gateway's own address.
    pub near: Vec<Near>,
    /// Why the network that was asked for is not it.
    pub problem: Option<String>,
}

impl GatewayPlan {
    /// The rules and routes that keep what it sends on from going back into a network where targets are. Nothing is
    /// wanted unless its default route leads there: a VPN client's own routes count.
    pub fn routing(&self, wiring: &Wiring) -> (Vec<OwnRule>, Vec<OwnRoute>) {
        let (mut rules, mut routes) = (Vec::new(), Vec::new());
        let Some((_, egress)) = &self.egress else {
            return (rules, routes);
        };
        for family in IpFamily::ALL {
            let way = wiring.defaults.iter().find(|(of, _)| *of == family);
            let Some((_, used)) = way else { continue };
            let Some(link) = wiring.link_of(egress, family) else {
                continue;
            };
            let mut shared = self.shared.iter();
            let leads_back = shared.any(|one| wiring.link_of(one, family) == Some(*used));
            let gateway = egress.gateways.iter().find(|one| family.has(**one));
            let (true, Some(gateway)) = (leads_back && *used != link, gateway) else {
                continue;
            };
            rules.extend(egress_rules(family));
            routes.push(OwnRoute {
                table: EGRESS_TABLE,
                prefix: everything(family),
                metric: EGRESS_METRIC,
                link,
                via: Via::Gateway(*gateway),
            });
        }
        (rules, routes)
    }

    /// The routes and MACs of targets that it would not reach otherwise.
    pub fn near(&self, wiring: &Wiring) -> (Vec<OwnRoute>, Vec<(u32, IpAddr, Mac)>) {
        let (mut routes, mut neighbours) = (Vec::new(), Vec::new());
        for near in &self.near {
            let own = near
                .own
                .iter()
                .filter(|own| IpFamily::of(**own) == IpFamily::of(near.address));
            let mut links = own.filter_map(|own| wiring.link_with(*own));
            let Some(link) = links.next() else { continue };
            routes.push(OwnRoute {
                table: MAIN,
                prefix: near.address.into(),
                metric: EGRESS_METRIC,
                link,
                via: Via::Gateway(near.address),
            });
            neighbours.push((link, near.address, near.mac));
        }
        (routes, neighbours)
    }

    /// Whether it has to send on packets of a family.
    pub fn forwards(&self, family: IpFamily) -> bool {
        self.subnets.iter().any(|one| family.has(one.ip()))
    }
}

fn egress_rules(family: IpFamily) -> [OwnRule; 2] {
    let rule = |priority, table, longer_than| OwnRule {
        priority,
        family,
        iif: None,
        oif: None,
        to: None,
        narrowed: Narrowed {
            longer_than,
            ..Narrowed::default()
        },
        table,
    };
    [
        rule(EGRESS_PRIORITY, MAIN, Some(0)),
        rule(EGRESS_PRIORITY + 1, EGRESS_TABLE, None),
    ]
}

/// A network without host bits, from an address in it; none for an address that is alone.
pub(crate) fn subnet(address: &IpNetwork) -> Option<IpNetwork> {
    IpNetwork::new(address.network(), address.prefix()).ok()
}

/// The addresses of an endpoint.
pub(crate) fn ips(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> + '_ {
    endpoint.addresses.iter().map(IpNetwork::ip)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn endpoint(address: &str, gateway: &str) -> Endpoint {
        Endpoint {
            addresses: vec![address.parse().unwrap()],
            gateways: vec![gateway.parse().unwrap()],
            ..Endpoint::default()
        }
    }

    #[test]
    fn a_default_route_back_to_the_targets_is_passed_by() {
        let plan = GatewayPlan {
            shared: vec![endpoint("10.1.0.2/24", "10.1.0.1")],
            egress: Some(("out".to_owned(), endpoint("10.2.0.2/24", "10.2.0.1"))),
            ..GatewayPlan::default()
        };
        let mut wiring = Wiring {
            addresses: vec![
                (2, "10.1.0.2/24".parse().unwrap()),
                (3, "10.2.0.2/24".parse().unwrap()),
            ],
            defaults: vec![(IpFamily::V4, 2), (IpFamily::V4, 3)],
        };
        let (rules, routes) = plan.routing(&wiring);
        assert_eq!((rules.len(), routes.len()), (2, 1));
        assert!(routes.iter().all(|one| one.link == 3));
        // Its own way out counts: the right network, or a tunnel.
        for link in [3, 9] {
            wiring.defaults = vec![(IpFamily::V4, link)];
            assert_eq!(plan.routing(&wiring), (Vec::new(), Vec::new()));
        }
    }
}
