//! What IPAM has given: addresses, and the result's parts that come with them.

use ipnetwork::IpNetwork;
use weft_cni::CniResult;
use weft_cni::result::{Dns, IpConfig, Route};
use weft_ipam::network_of;
use weft_store::AddressRecord;

use crate::plan::{Ipam, Plan};

/// The result's parts that come from IPAM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leased {
    pub(crate) addresses: Vec<AddressRecord>,
    /// Neighbours may know one of them by another MAC.
    pub(crate) is_remembered: bool,
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Dns,
}

impl Leased {
    /// Addresses that are there without IPAM: the link's own (the host's), or those of the plugin before.
    pub(super) fn before(plan: &Plan, own: Vec<AddressRecord>) -> Self {
        match &plan.settings.ipam {
            Ipam::Given(given) => Self {
                addresses: given.ips.iter().map(address_of).collect(),
                is_remembered: false,
                routes: given.routes.iter().map(normal).collect(),
                dns: given.dns.clone(),
            },
            Ipam::None | Ipam::Store(_) | Ipam::Delegate(_) => Self {
                addresses: own,
                ..Self::default()
            },
        }
    }

    /// What another IPAM plugin has answered.
    pub(super) fn by_delegate(answer: &CniResult) -> Self {
        Self {
            addresses: answer.ips.iter().map(address_of).collect(),
            is_remembered: false,
            routes: answer.routes.iter().map(normal).collect(),
            dns: answer.dns.clone(),
        }
    }
}

/// An address that another IPAM plugin manages.
fn address_of(ip: &IpConfig) -> AddressRecord {
    AddressRecord {
        address: ip.address,
        gateway: ip.gateway,
        pool: None,
        subnet_prefix: None,
    }
}

/// A route to the network that its destination names.
fn normal(route: &Route) -> Route {
    Route {
        dst: network_of(route.dst),
        ..route.clone()
    }
}

/// The default routes that are missing among IPAM's, one per family, with the first address of that
/// family.
pub(crate) fn default_routes(leased: &Leased) -> Vec<(IpNetwork, &AddressRecord)> {
    let mut missing = Vec::new();
    for everywhere in ["0.0.0.0/0", "::/0"] {
        let Ok(dst) = everywhere.parse::<IpNetwork>() else {
            continue;
        };
        let is_same = |network: &IpNetwork| network.is_ipv4() == dst.is_ipv4();
        let has_default = leased
            .routes
            .iter()
            .any(|route| route.is_default() && is_same(&route.dst));
        let first = leased.addresses.iter().find(|one| is_same(&one.address));
        if let (false, Some(first)) = (has_default, first) {
            missing.push((dst, first));
        }
    }
    missing
}
