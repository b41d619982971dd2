//! The bridge: found or made, never taken from another program.

use weft_cni::Mac;
use weft_firewall::ruleset;
use weft_kernel::bridge::{self, BridgeChange, NewBridge};
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::Batch;
use weft_kernel::{host as machine, sysctl};
use weft_node::names::{BRIDGE_ALIAS, CLOSED_LINK_GROUP, LINK_GROUP, bridge_mac, is_link_group};
use weft_node::{Host, WeftError, default_route};
use weft_store::{AttachmentRecord, Isolation, SharedObject};

use super::gateway::Forwards;
use super::{Created, router_advertisements};
use crate::plan::{BridgePlan, Mtu};

/// What a port needs to know of its bridge.
#[derive(Debug, Clone)]
pub(crate) struct BridgeFacts {
    pub(crate) index: u32,
    pub(crate) mac: Option<Mac>,
    /// Of both ends of the pair, and of the bridge if Weft makes it.
    pub(crate) mtu: u32,
    /// In bytes, of the bridge itself.
    pub(crate) bridge_mtu: u32,
    /// What comes by the bridge is forwarded, of each family.
    pub(crate) forwards: Forwards,
}

/// The bridge as it is before anything is done.
///
/// # Errors
/// [`WeftError::Conflict`] if the name is another kind of link's.
pub(crate) fn look(host: &mut Host, plan: &BridgePlan) -> Result<Option<Link>, WeftError> {
    let found = link::find(host.route()?, &plan.name)?;
    match found {
        Some(link) if link.kind.as_deref() != Some("bridge") => Err(WeftError::Conflict {
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
) -> Result<u32, WeftError> {
    match (plan.mtu, existing) {
        (Mtu::Bytes(bytes), _) => Ok(bytes),
        (Mtu::Auto, Some(bridge)) => Ok(bridge.mtu),
        (Mtu::Auto, None) => default_route_mtu(host),
    }
}

/// The MTU of the interface with the default route; Ethernet's if there is none.
fn default_route_mtu(host: &mut Host) -> Result<u32, WeftError> {
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
) -> Result<BridgeFacts, WeftError> {
    let made;
    let there = match existing {
        Some(link) => link,
        None => {
            made = create(host, plan, mtu, created)?;
            &made
        }
    };
    let facts = BridgeFacts {
        index: there.index,
        mac: there.mac,
        mtu,
        bridge_mtu: there.mtu,
        forwards: Forwards::of(there),
    };
    let is_own = there.alias == BRIDGE_ALIAS;
    if !there.is_up && is_own {
        // Just made, or by a process that was killed.
        set_ipv6(plan, there);
    }
    if !is_own {
        router_advertisements::ignore_on_foreign(host, there)?;
    } else if there.is_up && there.ipv6.is_some_and(|ipv6| ipv6.accept_ra != 0) {
        // Somebody has set it since.
        router_advertisements::ignore(&plan.name);
    }
    let mut batch = Batch::new();
    let group = group_of(plan.isolation);
    if there.group != group && (is_own || is_to_be_grouped(there)) {
        link::set_group(there.index, group, &mut batch);
    }
    if !is_own && created.is_first_on_segment {
        // Of itself a bridge has its lowest port's MAC, and with ports that come and go its neighbours lose it.
        if let Some(mac) = there.mac {
            link::set_mac(there.index, mac, &mut batch);
        }
    }
    let state = there.bridge.unwrap_or_default();
    let change = BridgeChange {
        vlan_filtering: plan.filters_vlans() && !state.vlan_filtering,
        group_forward_mask: plan
            .group_forward_mask
            .filter(|mask| *mask != state.group_forward_mask),
        no_link_local_learning: ruleset::is_guarded(record) && !state.no_link_local_learning,
    };
    bridge::configure(&plan.name, change, &mut batch);
    if !there.is_up {
        link::set_up(there.index, &mut batch);
    }
    if plan.promiscuous && !there.is_promiscuous {
        link::set_promiscuous(there.index, &mut batch);
    }
    host.route()?.commit(batch)?;
    Ok(facts)
}

/// Whether a bridge that Weft did not make is put into the group of those that it makes: unless the administrator has
/// it in a group of his own.
pub(crate) fn is_to_be_grouped(there: &Link) -> bool {
    there.alias != BRIDGE_ALIAS && (there.group == 0 || is_link_group(there.group))
}

/// Whether the bridge of an attachment is in a group by Weft.
pub(crate) fn is_grouped(there: &Link, record: &AttachmentRecord) -> bool {
    let link = there.name.clone();
    there.alias == BRIDGE_ALIAS || record.shared.contains(&SharedObject::Grouped { link })
}

/// The group of a network's bridge, or of the interface of its VLAN.
pub(crate) fn group_of(isolation: Isolation) -> u32 {
    match isolation {
        Isolation::None | Isolation::Apart => LINK_GROUP,
        Isolation::Full | Isolation::Peer | Isolation::Mesh => CLOSED_LINK_GROUP,
    }
}

/// Whether the administrator has it in a group of his own.
pub(crate) fn is_in_another_group(there: &Link) -> bool {
    there.alias != BRIDGE_ALIAS && !is_to_be_grouped(there)
}

/// Takes such a bridge out of the group again.
pub(crate) fn ungroup(host: &mut Host, name: &str) -> Result<(), WeftError> {
    let socket = host.route()?;
    let Some(there) = link::find(socket, name)? else {
        return Ok(());
    };
    if there.alias == BRIDGE_ALIAS || !is_link_group(there.group) {
        return Ok(());
    }
    let mut batch = Batch::new();
    link::set_group(there.index, 0, &mut batch);
    match socket.commit(batch) {
        Err(error) if !error.is_absent() => Err(error.into()),
        _ => Ok(()),
    }
}

/// The last closed container has left: the bridge is one of an open network again.
pub(crate) fn reopen(host: &mut Host, name: &str) -> Result<(), WeftError> {
    let is_of_bridge = |object: &SharedObject| matches!(object, SharedObject::Isolation { link, mode } if link == name && !mode.is_none());
    let records = host.attachments()?;
    if records
        .iter()
        .any(|record| record.shared.iter().any(is_of_bridge))
    {
        return Ok(());
    }
    let socket = host.route()?;
    let there = link::find(socket, name)?;
    let Some(there) = there.filter(|there| there.group == CLOSED_LINK_GROUP) else {
        return Ok(());
    };
    let mut batch = Batch::new();
    link::set_group(there.index, LINK_GROUP, &mut batch);
    match socket.commit(batch) {
        Err(error) if !error.is_absent() => Err(error.into()),
        _ => Ok(()),
    }
}

/// The MAC of a bridge that Weft makes.
pub(crate) fn derived_mac(name: &str) -> Mac {
    let machine_id = machine::machine_id()
        .or_else(machine::boot_id)
        .unwrap_or_default();
    bridge_mac(name, &machine_id)
}

/// Makes the bridge, down.
fn create(
    host: &mut Host,
    plan: &BridgePlan,
    mtu: u32,
    created: &mut Created,
) -> Result<Link, WeftError> {
    let mut batch = Batch::new();
    let new = NewBridge {
        name: &plan.name,
        mac: derived_mac(&plan.name),
        mtu,
        vlan_filtering: plan.filters_vlans(),
        group_forward_mask: plan.group_forward_mask,
        group: group_of(plan.isolation),
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
    look(host, plan)?.ok_or_else(|| WeftError::Conflict {
        key: "bridge",
        name: plan.name.clone(),
        why: "vanished while it was being made".to_owned(),
    })
}

/// What a bridge of Weft's own is set to before it is up. What cannot be set (a runtime in a container has
/// `/proc/sys` read-only) keeps no container from its network.
fn set_ipv6(plan: &BridgePlan, there: &Link) {
    // A kernel without IPv6, or too small an MTU for it.
    let Some(ipv6) = there.ipv6 else { return };
    if ipv6.accept_ra != 0 {
        router_advertisements::ignore(&plan.name);
    }
    // Its gateway address outlives a moment in which it is down.
    let kept = (ipv6.keep_addr_on_down < 1).then_some(("keep_addr_on_down", "1"));
    // Where no neighbour can have the bridge's link-local address, it is not asked for: the host would ask for
    // no neighbour, and reach no container, for the two seconds which that takes.
    let alone = (plan.uplink.is_none() && ipv6.accept_dad != 0).then_some(("accept_dad", "0"));
    let settings: Vec<(&str, &str)> = [kept, alone].into_iter().flatten().collect();
    let directory = format!("net/ipv6/conf/{}", plan.name);
    if let Err(error) = sysctl::write_all(&directory, &settings) {
        tracing::warn!(%error, "the bridge is not set as it should be");
    }
}

/// Deletes a bridge that Weft made, unless it has other ports.
pub(crate) fn remove(host: &mut Host, name: &str) -> Result<(), WeftError> {
    let socket = host.route()?;
    let Some(found) = link::find(socket, name)? else {
        return Ok(());
    };
    if found.alias != BRIDGE_ALIAS || !link::ports_of(socket, found.index)?.is_empty() {
        return Ok(());
    }
    super::links::delete_alone(host, name)
}
