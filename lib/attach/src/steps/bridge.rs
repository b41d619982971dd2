//! The bridge: found or made, never taken from somebody else.

use weft_kernel::bridge::{self, BridgeChange, NewBridge};
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::Batch;
use weft_kernel::{Mac, host as machine, sysctl};
use weft_store::AttachmentRecord;

use super::{Created, default_route};
use crate::error::AttachError;
use crate::host::Host;
use crate::names::bridge_mac;
use crate::plan::{BridgePlan, Mtu};
use crate::ruleset;

/// The alias of a bridge that Weft made: only such a one is ever removed.
pub(crate) const BRIDGE_ALIAS: &str = "weft bridge";

/// What a port needs to know of its bridge.
#[derive(Debug, Clone)]
pub(crate) struct BridgeFacts {
    pub(crate) index: u32,
    pub(crate) mac: Option<Mac>,
    /// Of both ends of the pair, and of the bridge if Weft makes it.
    pub(crate) mtu: u32,
    /// Of the bridge.
    pub(crate) bridge_mtu: u32,
}

/// The bridge as it is before anything is done.
///
/// # Errors
/// [`AttachError::Conflict`] if the name is another kind of link's.
pub(crate) fn look(host: &mut Host, plan: &BridgePlan) -> Result<Option<Link>, AttachError> {
    let found = link::find(host.route()?, &plan.name)?;
    match found {
        Some(link) if link.kind.as_deref() != Some("bridge") => Err(AttachError::Conflict {
            key: "bridge",
            name: plan.name.clone(),
            why: format!(
                "exists and is a {}",
                link.kind.as_deref().unwrap_or("hardware interface")
            ),
        }),
        other => Ok(other),
    }
}

/// The MTU the attachment gets.
pub(crate) fn mtu(
    host: &mut Host,
    plan: &BridgePlan,
    existing: Option<&Link>,
) -> Result<u32, AttachError> {
    match (plan.mtu, existing) {
        (Mtu::Bytes(bytes), _) => Ok(bytes),
        (Mtu::Auto, Some(bridge)) => Ok(bridge.mtu),
        (Mtu::Auto, None) => default_route_mtu(host),
    }
}

/// The MTU of the interface with the default route; Ethernet's if there is none.
fn default_route_mtu(host: &mut Host) -> Result<u32, AttachError> {
    const ETHERNET: u32 = 1500;
    let uplink = default_route::interface(host.route()?)?;
    // The loopback interface's 65536 is no guide for what is sent on a wire.
    Ok(uplink
        .map(|uplink| uplink.mtu)
        .filter(|mtu| *mtu <= 9216)
        .unwrap_or(ETHERNET))
}

/// Makes the bridge if it is missing and sets what the plan, and the guard of the port, ask for.
pub(crate) fn ensure(
    host: &mut Host,
    (plan, record): (&BridgePlan, &AttachmentRecord),
    existing: Option<&Link>,
    mtu: u32,
    created: &mut Created,
) -> Result<BridgeFacts, AttachError> {
    let facts = match existing {
        Some(link) => BridgeFacts {
            index: link.index,
            mac: link.mac,
            mtu,
            bridge_mtu: link.mtu,
        },
        None => create(host, plan, mtu, created)?,
    };
    let state = existing.and_then(|link| link.bridge).unwrap_or_default();
    let mut batch = Batch::new();
    let change = BridgeChange {
        vlan_filtering: plan.filters_vlans() && !state.vlan_filtering,
        group_forward_mask: plan
            .group_forward_mask
            .filter(|mask| *mask != state.group_forward_mask),
        no_link_local_learning: ruleset::is_guarded(record) && !state.no_link_local_learning,
    };
    if existing.is_some() {
        bridge::configure(&plan.name, change, &mut batch);
    }
    if existing.is_some_and(|link| !link.is_up) {
        link::set_up(facts.index, &mut batch);
    }
    if plan.promiscuous && !existing.is_some_and(|link| link.is_promiscuous) {
        link::set_promiscuous(facts.index, &mut batch);
    }
    host.route()?.commit(batch)?;
    Ok(facts)
}

fn create(
    host: &mut Host,
    plan: &BridgePlan,
    mtu: u32,
    created: &mut Created,
) -> Result<BridgeFacts, AttachError> {
    let machine_id = machine::machine_id()
        .or_else(machine::boot_id)
        .unwrap_or_default();
    let mac = bridge_mac(&plan.name, &machine_id);
    let mut batch = Batch::new();
    let new = NewBridge {
        name: &plan.name,
        mac,
        mtu,
        vlan_filtering: plan.filters_vlans(),
        group_forward_mask: plan.group_forward_mask,
    };
    new.create(&mut batch);
    link::Change {
        alias: Some(BRIDGE_ALIAS),
        ..link::Change::default()
    }
    .apply(&plan.name, &mut batch);
    match host.route()?.commit(batch) {
        Ok(()) => created.bridge = Some(plan.name.clone()),
        // Another ADD made it in the meantime.
        Err(error) if error.is_present() => {}
        Err(error) => return Err(error.into()),
    }
    let found = look(host, plan)?.ok_or_else(|| AttachError::Conflict {
        key: "bridge",
        name: plan.name.clone(),
        why: "vanished while it was being made".to_owned(),
    })?;
    set_ipv6(plan)?;
    Ok(BridgeFacts {
        index: found.index,
        mac: found.mac,
        mtu,
        bridge_mtu: found.mtu,
    })
}

/// What a bridge of Weft's own is set to.
fn set_ipv6(plan: &BridgePlan) -> Result<(), AttachError> {
    // Its own containers' router advertisements are none of the host's business.
    let ignored = ("accept_ra", "0");
    // Where nobody else can have the bridge's link-local address, it is not asked for: the host would ask for
    // no neighbour, and reach no container, for the two seconds which that takes.
    let alone = ("accept_dad", "0");
    let both = [ignored, alone];
    let settings = match plan.uplink {
        Some(_) => &both[..1],
        None => &both[..],
    };
    let directory = format!("net/ipv6/conf/{}", plan.name);
    // A kernel without IPv6, or too small an MTU for it.
    if !sysctl::exists(&directory) {
        return Ok(());
    }
    Ok(sysctl::write_all(&directory, settings)?)
}

/// Deletes a bridge that Weft made, unless somebody has put ports on it.
pub(crate) fn remove(host: &mut Host, name: &str) -> Result<(), AttachError> {
    let socket = host.route()?;
    let Some(found) = link::find(socket, name)? else {
        return Ok(());
    };
    if found.alias != BRIDGE_ALIAS || !link::ports_of(socket, found.index)?.is_empty() {
        return Ok(());
    }
    super::links::delete_alone(host, name)
}
