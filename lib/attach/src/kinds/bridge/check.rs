//! CHECK of a bridge port: what the configuration says of it, which may have changed since the ADD.

use weft_firewall::ruleset;
use weft_kernel::bridge::PortOptions;
use weft_kernel::{address, link, vlan};
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, HostLink};

use crate::differences::Differences;
use crate::kinds::Checking;
use crate::plan::BridgePlan;
use crate::steps::bridge;
use crate::steps::gateway::{families, gateway_addresses, not_forwarding};
use crate::steps::router_advertisements;
use crate::steps::veth::{VlanSettings, expected_vlans};

pub(super) fn check(plan: &BridgePlan, checking: &mut Checking<'_>) -> Result<(), WeftError> {
    let (found, host, record) = (&mut *checking.found, &mut *checking.host, checking.record);
    if let Some(port) = record.link.port() {
        port_and_bridge(found, host, port, record)?;
        // A container that is open is not closed by a configuration that has changed.
        if plan.isolation != record.isolation {
            let (actual, wanted) = (record.isolation, plan.isolation);
            found.add(format!("isolation is {actual} instead of {wanted}"));
        }
        vlans(found, host, port, plan.preserve_default_vlan)?;
    }
    if plan.is_gateway {
        gateway(found, host, record)?;
    }
    Ok(())
}

/// The port, and the bridge that it is on.
fn port_and_bridge(
    found: &mut Differences,
    host: &mut Host,
    port: &HostLink,
    record: &AttachmentRecord,
) -> Result<(), WeftError> {
    let is_guarded = ruleset::is_guarded(record);
    let socket = host.route()?;
    let Some(there) = link::find(socket, &port.name)? else {
        found.add(format!("host interface {} is missing", port.name));
        return Ok(());
    };
    if !there.is_up {
        found.add(format!("host interface {} is down", port.name));
    }
    let bridge = match &port.bridge {
        Some(name) => link::find(socket, name)?.map(|link| (name, link)),
        None => None,
    };
    match (&port.bridge, bridge) {
        (Some(name), None) => found.add(format!("bridge {name} is missing")),
        (_, Some((name, bridge))) => {
            if there.controller != Some(bridge.index) {
                found.add(format!(
                    "host interface {} is not a port of {name}",
                    port.name
                ));
            }
            if !bridge.is_up {
                found.add(format!("bridge {name} is down"));
            }
            if let Some(text) = router_advertisements::believed(host, &bridge)? {
                found.add(text);
            }
            let group = bridge::group_of(record.isolation);
            if bridge::is_grouped(&bridge, record) && bridge.group != group {
                found.add(format!(
                    "bridge {name} is in group {} of links: ip link set {name} group {group}",
                    bridge.group
                ));
            }
            let state = bridge.bridge.unwrap_or_default();
            if is_guarded && !state.no_link_local_learning {
                found.add(format!(
                    "bridge {name} learns from frames that nothing can check: ip link set \
                     {name} type bridge no_linklocal_learn 1"
                ));
            }
        }
        (None, None) => {}
    }
    let options = there.port.map(|port| port.options).unwrap_or_default();
    let wanted = PortOptions {
        hairpin: port.hairpin,
        isolated: port.isolated,
        bpdu_guard: is_guarded,
    };
    if there.controller.is_some() && options != wanted {
        found.add(format!(
            "host interface {}: {options:?} instead of {wanted:?}",
            port.name
        ));
    }
    Ok(())
}

fn vlans(
    found: &mut Differences,
    host: &mut Host,
    port: &HostLink,
    keep_default: bool,
) -> Result<(), WeftError> {
    if port.vlan.is_none() && port.trunk.is_empty() {
        return Ok(());
    }
    let Some(link) = link::find(host.route()?, &port.name)? else {
        return Ok(());
    };
    let settings = VlanSettings {
        native: port.vlan,
        trunk: &port.trunk,
        keep_default,
    };
    let there = vlan::list(host.route()?, link.index)?;
    for wanted in expected_vlans(settings) {
        if !there.contains(&wanted) {
            let (name, id) = (&port.name, wanted.id);
            found.add(format!(
                "host interface {name} is not in VLAN {id} as it should be"
            ));
        }
    }
    Ok(())
}

/// Gateway addresses and forwarding.
fn gateway(
    found: &mut Differences,
    host: &mut Host,
    record: &AttachmentRecord,
) -> Result<(), WeftError> {
    let Some(holder) = record.gateway_link() else {
        return Ok(());
    };
    let there = match link::find(host.route()?, &holder)? {
        Some(found) => address::list(host.route()?, found.index)?,
        None => Vec::new(),
    };
    for wanted in gateway_addresses(&record.addresses) {
        if !there.iter().any(|assigned| assigned.address == wanted) {
            found.add(format!("gateway address {wanted} is missing on {holder}"));
        }
    }
    let families = families(record.addresses.iter().map(|one| one.address));
    for name in not_forwarding(host, &holder, &families)? {
        found.add(format!("sysctl {name} is off"));
    }
    Ok(())
}
