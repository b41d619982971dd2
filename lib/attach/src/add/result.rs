//! The result of an ADD, from its record.

use weft_cni::CniResult;
use weft_cni::result::{Interface, IpConfig};
use weft_store::{AddressRecord, AttachmentRecord};

use super::record::Leased;
use crate::plan::Plan;
use crate::steps::bridge::BridgeFacts;
use crate::steps::{gateway, vlan_gateway};

pub(super) fn result(
    plan: &Plan,
    record: &AttachmentRecord,
    leased: Leased,
    facts: &BridgeFacts,
) -> CniResult {
    const CONTAINER: usize = 2;
    let interface = |name: &str, mac: String, sandbox: &str| Interface {
        name: name.to_owned(),
        mac,
        mtu: Some(facts.mtu),
        sandbox: sandbox.to_owned(),
        ..Interface::default()
    };
    let bridge_mac = facts.mac.map(|mac| mac.to_string()).unwrap_or_default();
    let bridge = Interface {
        mtu: Some(facts.bridge_mtu),
        ..interface(&plan.bridge.name, bridge_mac, "")
    };
    let mut interfaces = vec![bridge];
    for port in &record.host_links {
        interfaces.push(interface(&port.name, port.mac.clone(), ""));
    }
    if let Some(own) = &record.container_link {
        interfaces.push(interface(&own.name, own.mac.clone(), &plan.container.netns));
    }
    if plan.bridge.is_gateway && plan.bridge.vlan.is_some() && !record.addresses.is_empty() {
        let link = plan.bridge.gateway_link();
        let mac = vlan_gateway::mac(&link).to_string();
        interfaces.push(interface(&link, mac, ""));
    }
    let gateway = |one: &AddressRecord| match plan.bridge.is_gateway {
        true => gateway::gateway_of(one),
        false => one.gateway,
    };
    let ips = record.addresses.iter().map(|one| IpConfig {
        interface: Some(CONTAINER),
        address: one.address,
        gateway: gateway(one),
    });
    CniResult {
        interfaces,
        ips: ips.collect(),
        routes: record.routes.clone(),
        dns: if plan.dns.is_empty() {
            leased.dns
        } else {
            plan.dns.clone()
        },
    }
}
