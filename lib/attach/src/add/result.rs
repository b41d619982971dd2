//! The result of an ADD, from its record.

use weft_cni::CniResult;
use weft_cni::result::{Interface, IpConfig};
use weft_store::{AddressRecord, AttachmentRecord};

use super::record::Leased;
use crate::plan::{LinkPlan, Plan};

/// An interface that is there now.
pub(super) struct MadeInterface<'a> {
    pub(super) name: &'a str,
    pub(super) mac: &'a str,
    pub(super) mtu: u32,
    /// The path of its namespace; empty for the host's.
    pub(super) sandbox: &'a str,
}

pub(super) fn interface(made: &MadeInterface<'_>) -> Interface {
    Interface {
        name: made.name.to_owned(),
        mac: made.mac.to_owned(),
        mtu: Some(made.mtu),
        sandbox: made.sandbox.to_owned(),
        ..Interface::default()
    }
}

pub(super) fn result(
    plan: &Plan,
    record: &AttachmentRecord,
    leased: Leased,
    interfaces: Vec<Interface>,
) -> CniResult {
    let own = interfaces.iter().position(|one| !one.sandbox.is_empty());
    let gateway = |one: &AddressRecord| match &plan.settings.link {
        LinkPlan::Bridge(bridge) if bridge.is_gateway => one.gateway_or_first(),
        LinkPlan::Child(child) if child.is_routed() => None,
        _ => one.gateway,
    };
    let ips = record.addresses.iter().map(|one| IpConfig {
        interface: own,
        address: one.address,
        gateway: gateway(one),
    });
    CniResult {
        ips: ips.collect(),
        interfaces,
        routes: record.routes.clone(),
        dns: if plan.settings.dns.is_empty() {
            leased.dns
        } else {
            plan.settings.dns.clone()
        },
    }
}
