//! Bridges and their ports.

use std::collections::{BTreeMap, BTreeSet};

use weft_kernel::link;
use weft_node::{Host, WeftError, default_route};
use weft_store::AttachmentRecord;

use super::{Finding, Symptom};
use crate::steps::gateway::gateway_addresses;
use crate::steps::router_advertisements;

/// Bridges that are missing, down or without carrier, gateway addresses that they lack, ports that are down, and MTUs
/// that packets do not fit into.
pub(super) fn findings(
    host: &mut Host,
    records: &[AttachmentRecord],
) -> Result<Vec<Finding>, WeftError> {
    let mut found = BTreeSet::new();
    let mut mtus = BTreeMap::new();
    for record in records {
        let Some(name) = record.gateway_link() else {
            continue;
        };
        let Some(there) = link::find(host.route()?, &name)? else {
            found.insert((
                Symptom::BetweenContainers,
                format!("{name} is missing and has containers: attach them anew"),
            ));
            continue;
        };
        let believed = router_advertisements::believed(host, &there)?;
        found.extend(believed.into_iter().map(|text| (Symptom::State, text)));
        mtus.insert(name.clone(), there.mtu);
        if !there.is_up {
            found.insert((
                Symptom::BetweenContainers,
                format!("{name} is down and has containers: ip link set {name} up"),
            ));
        } else if !there.is_operational {
            found.insert((Symptom::BetweenContainers, format!(
                "{name} has no carrier, though it has containers: ip link show master {name} shows its ports"
            )));
        }
        if let Some(text) = port(host, record, there.index)? {
            found.insert((Symptom::BetweenContainers, text));
        }
        if !record.is_routed_by_host {
            continue;
        }
        let assigned = weft_kernel::address::list(host.route()?, there.index)?;
        for wanted in gateway_addresses(&record.addresses) {
            if assigned.iter().all(|one| one.address != wanted) {
                found.insert((Symptom::External, format!(
                    "gateway address {wanted} is missing on {name}: the next container's ADD sets it, or: ip addr \
                     add {wanted} dev {name}"
                )));
            }
        }
    }
    found.extend(too_large(host, &mtus)?);
    Ok(found
        .into_iter()
        .map(|(symptom, text)| Finding { symptom, text })
        .collect())
}

/// What is wrong with the end of a container's pair on the host.
fn port(
    host: &mut Host,
    record: &AttachmentRecord,
    bridge: u32,
) -> Result<Option<String>, WeftError> {
    let Some(port) = record.link.port() else {
        return Ok(None);
    };
    let (name, id) = (&port.name, &record.id);
    let bridge_name = port.bridge.as_deref().unwrap_or_default();
    // The gateway may be on an interface of a VLAN above the bridge.
    let own_bridge = link::find(host.route()?, bridge_name)?.map_or(bridge, |one| one.index);
    let found = link::find(host.route()?, name)?;
    Ok(match found {
        // Then the container is dead, or its interface was deleted in it: CHECK says so.
        None => None,
        Some(link) if !link.is_up => Some(format!("{name} of {id} is down: ip link set {name} up")),
        Some(link) if link.controller != Some(own_bridge) => Some(format!(
            "{name} of {id} is no port of {bridge_name} any more: ip link set {name} master {bridge_name}"
        )),
        Some(link) if !link.is_operational => Some(format!(
            "{name} of {id} has no carrier: the interface in the container is down: weft endpoint inspect {}",
            id.container_id
        )),
        Some(_) => None,
    })
}

/// Packets of containers leave by the default route: where that takes less than the containers send, large ones are
/// broken up or lost.
fn too_large(
    host: &mut Host,
    mtus: &BTreeMap<String, u32>,
) -> Result<Vec<(Symptom, String)>, WeftError> {
    let Some(way_out) = default_route::interface(host.route()?)? else {
        return Ok(Vec::new());
    };
    let larger = mtus.iter().filter(|(_, mtu)| **mtu > way_out.mtu);
    let text = |(name, mtu): (&String, &u32)| {
        let (out, least) = (&way_out.name, way_out.mtu);
        let text = format!(
            "{name} has MTU {mtu}, and what leaves by {out} has {least} at most: large packets are broken up or lost. \
             Set \"mtu\": {least} in the network (weft network update --option mtu={least} NETWORK), and attach its \
             containers anew"
        );
        (Symptom::Performance, text)
    };
    Ok(larger.map(text).collect())
}
