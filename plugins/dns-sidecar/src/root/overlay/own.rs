//! What this host has to tell other hosts: where it leads to, and how it is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;
use weft_node::names::bridge_mac;
use weft_overlay::exchange::{End, Neighbour, Own, Route};
use weft_overlay::underlay::Chosen;
use weft_overlay::{Mode, Overlay, Overlays};

use super::kernel::Kernel;

/// A container of this host on a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::root) struct Container {
    pub(in crate::root) bridge: String,
    pub(in crate::root) neighbour: Neighbour,
}

/// What it has to tell, and, by VNI, what it cannot. `chosen` has the overlays that are carried.
pub(super) fn own(
    overlays: &Overlays,
    chosen: &BTreeMap<u32, Chosen>,
    containers: &[Container],
    kernel: &mut Kernel,
) -> Result<(Own, Vec<(u32, String)>)> {
    let (mut own, mut troubles) = (Own::default(), Vec::new());
    let mut locals = BTreeSet::new();
    for overlay in &overlays.overlay {
        let Some(chosen) = chosen.get(&overlay.vni) else {
            continue;
        };
        locals.insert(chosen.local);
        own.mtus.insert(overlay.vni, chosen.mtu);
        own.ends.push(end(overlay, chosen, containers));
        let (prefixes, trouble) = exported(overlays, overlay, chosen, kernel)?;
        troubles.extend(trouble.map(|text| (overlay.vni, text)));
        for prefix in prefixes {
            let mut gateways = overlay.gateways().into_iter();
            match gateways.find(|ip| ip.is_ipv4() == prefix.is_ipv4()) {
                Some(next_hop) => own.routes.push(Route {
                    vni: overlay.vni,
                    prefix,
                    next_hop,
                    metric: overlay.routing.export.metric,
                    lease_seconds: overlay.routing.import.install.route_lease_seconds,
                }),
                None => troubles.push((
                    overlay.vni,
                    format!(
                        "routing.export: {prefix} cannot be announced: the bridge has no address of its family"
                    ),
                )),
            }
        }
    }
    let without = (overlays.overlay.iter())
        .flat_map(|one| [one.device(), one.bridge.name.clone()])
        .collect();
    own.home = kernel.connected(&without)?;
    own.home.sort();
    own.home.dedup();
    own.locals = locals.into_iter().collect();
    Ok((own, troubles))
}

fn end(overlay: &Overlay, chosen: &Chosen, containers: &[Container]) -> End {
    let device = overlay.device();
    let is_here = |one: &&Container| overlay.mode == Mode::L2 && one.bridge == overlay.bridge.name;
    let here = containers.iter().filter(is_here);
    End {
        vni: overlay.vni,
        mode: overlay.mode,
        mac: (overlay.mode == Mode::Routed).then(|| bridge_mac(&device, &chosen.local.to_string())),
        gateways: overlay.gateways(),
        ranges: overlay.containers.clone(),
        neighbours: here.map(|one| one.neighbour.clone()).collect(),
    }
}

/// Prefixes that other hosts are told of, and why some are missing.
fn exported(
    overlays: &Overlays,
    overlay: &Overlay,
    chosen: &Chosen,
    kernel: &mut Kernel,
) -> Result<(BTreeSet<IpNetwork>, Option<String>)> {
    let export = &overlay.routing.export;
    let network = |one: &IpNetwork| IpNetwork::new(one.network(), one.prefix()).ok();
    let mut prefixes: BTreeSet<IpNetwork> = export.networks.iter().filter_map(network).collect();
    let mut trouble = None;
    if overlay.mode == Mode::Routed {
        prefixes.extend(overlay.subnets());
    }
    if export.include_connected || export.export_all {
        let mut without: BTreeSet<String> = overlays
            .overlay
            .iter()
            .flat_map(|one| [one.device(), one.bridge.name.clone()])
            .collect();
        without.insert(chosen.interface.clone());
        prefixes.extend(kernel.connected(&without)?);
    }
    if export.export_all {
        prefixes.extend(kernel.static_routes()?);
    }
    if export.include_netplan_static || export.export_all {
        match crate::netplan::static_routes(&overlays.netplan.config_paths) {
            Ok(found) => prefixes.extend(found),
            Err(error) if export.include_netplan_static => trouble = Some(format!("{error:#}")),
            Err(_) => {}
        }
    }
    // Where other hosts are is not the overlay's to lead to.
    let endpoints: Vec<IpAddr> = overlays.peer.iter().map(|peer| peer.address).collect();
    prefixes.retain(|one| !endpoints.iter().any(|ip| one.contains(*ip)));
    Ok((prefixes, trouble))
}
