//! The result of an ADD, from its record.

use weft_cni::phases::{Phase, measure};
use weft_cni::result::{Interface, IpConfig};
use weft_cni::{CniResult, Mac};
use weft_store::{AttachmentRecord, ContainerLink};

use super::leased::Leased;
use crate::plan::Plan;

/// The interface in the container, for the result.
pub(crate) fn container_interface(own: &ContainerLink, mtu: u32, netns: &str) -> Interface {
    Interface {
        sandbox: netns.to_owned(),
        ..host_interface(&own.name, own.mac, mtu)
    }
}

/// An interface of the host, for the result.
pub(crate) fn host_interface(name: &str, mac: Option<Mac>, mtu: u32) -> Interface {
    Interface {
        name: name.to_owned(),
        mac: mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: Some(mtu),
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
    let ips = record.addresses.iter().map(|one| IpConfig {
        interface: own,
        address: one.address,
        gateway: plan.kind().gateway(one),
    });
    CniResult {
        ips: ips.collect(),
        interfaces,
        routes: record.routes.clone(),
        dns: measure(Phase::Dns, || match plan.settings.dns.is_empty() {
            true => leased.dns,
            false => plan.settings.dns.clone(),
        }),
    }
}
