//! Removing what attachments shared and none uses any more.
//!
//! Why it is so: docs/decisions/store.md.

use weft_firewall::foreign::admission;
use weft_firewall::foreign::obstacles::Behind;
use weft_firewall::foreign::passage::Passage;
use weft_firewall::ruleset;
use weft_node::{Host, WeftError};
use weft_store::{LINKS_LOCK, NftRecord, SharedObject, Sharing};

use super::users;
use crate::steps::{
    bridge, device, gateway, host_access, parent, ports, route_localnet, uplink, vlan_gateway,
};

/// Removes every idle object and forgets it. A crash in between leaves it idle, for the next call.
pub fn remove_idle(host: &mut Host) -> Result<(), WeftError> {
    let idle = host.store.read(|transaction| transaction.idle_objects())?;
    if idle.is_empty() {
        return Ok(());
    }
    remove_found(host)
}

/// The same after a transaction has found idle objects.
pub fn remove_found(host: &mut Host) -> Result<(), WeftError> {
    // Until the store knows what is gone: an ADD that uses it again meanwhile would leave it behind.
    let _lock = host.store.named_lock(LINKS_LOCK, Sharing::Exclusive)?;
    // An ADD that came before the lock was taken has made it busy again.
    let mut idle = host.store.read(|transaction| transaction.idle_objects())?;
    if idle.is_empty() {
        return Ok(());
    }
    let mut errors = Vec::new();
    let mut removed = Vec::new();
    idle.sort_by_key(order);
    let (elements, objects): (Vec<_>, Vec<_>) = idle
        .into_iter()
        .partition(|object| object.nft_element().is_some());
    for object in objects {
        match remove(host, &object) {
            Ok(()) => removed.push(object),
            // Its time has not come: the name is another interface's still.
            Err(WeftError::NotYet) => {}
            Err(error) => errors.push(error),
        }
    }
    let records: Vec<NftRecord> = elements
        .iter()
        .filter_map(SharedObject::nft_element)
        .cloned()
        .collect();
    match ruleset::remove_network_elements(host, &records) {
        Ok(()) => removed.extend(elements),
        Err(error) => errors.push(error),
    }
    let forgotten = host.store.write(|transaction| {
        removed
            .iter()
            .try_for_each(|object| transaction.forget_idle(object))
    });
    errors.extend(forgotten.err().map(WeftError::from));
    WeftError::collect("removing what is no longer used", errors)
}

/// A failed ADD leaves no tables that it has made, unless another attachment needs them by now. The links lock
/// is held.
pub fn remove_made_tables(host: &mut Host) -> Result<(), WeftError> {
    if host.has_made_tables && !users::is_needed(host, &SharedObject::Ruleset)? {
        ruleset::delete_tables(host)?;
    }
    Ok(())
}

/// Addresses before the interfaces that hold them, ports before bridges.
fn order(object: &SharedObject) -> u8 {
    match object {
        SharedObject::GatewayAddress { .. } => 0,
        SharedObject::VlanGateway { .. }
        | SharedObject::HostAccess { .. }
        | SharedObject::LostName { .. }
        | SharedObject::PortSuccessor { .. }
        | SharedObject::Admitted { .. }
        | SharedObject::Questions { .. }
        | SharedObject::Grouped { .. }
        | SharedObject::RouteLocalnet { .. }
        | SharedObject::HostRoute { .. }
        | SharedObject::Network { .. }
        | SharedObject::ParentMode { .. } => 1,
        SharedObject::Uplink { .. } | SharedObject::VlanLink { .. } => 2,
        // What closes it goes after this: there is no moment in which it would be closed by its group alone.
        SharedObject::Isolation { .. } => 2,
        SharedObject::Bridge { .. } => 3,
        SharedObject::NftElement { .. } => 4,
        SharedObject::Ruleset => 5,
    }
}

fn remove(host: &mut Host, object: &SharedObject) -> Result<(), WeftError> {
    let is_only_known = matches!(
        object,
        SharedObject::ParentMode { .. }
            | SharedObject::HostRoute { .. }
            | SharedObject::NftElement { .. }
    );
    if is_only_known || users::is_needed(host, object)? {
        return Ok(());
    }
    match object {
        SharedObject::GatewayAddress { link, address } => {
            gateway::remove_address(host, link, address)
        }
        SharedObject::VlanGateway { link, .. } => vlan_gateway::remove(host, link),
        SharedObject::Uplink { bridge, link } => uplink::remove(host, link, bridge),
        SharedObject::Bridge { name } => bridge::remove(host, name),
        SharedObject::HostAccess { link } => host_access::remove(host, link),
        SharedObject::VlanLink { link, .. } => parent::remove_vlan(host, link),
        SharedObject::RouteLocalnet { link } => route_localnet::switch(host, link, false),
        SharedObject::Network { name } => weft_firewall::forget_network(host, name),
        SharedObject::PortSuccessor { id } => ports::succeed(host, id),
        SharedObject::LostName {
            alternative_name,
            name,
        } => device::rename_back(host, alternative_name, name),
        SharedObject::Admitted { link } => {
            let (link, addresses) = (link.clone(), Vec::new());
            admission::remove(host, &Passage::Through(Behind { link, addresses }))
        }
        SharedObject::Questions { link } => {
            admission::remove(host, &Passage::asked_by(link, &[], &[]))
        }
        SharedObject::Grouped { link } => bridge::ungroup(host, link),
        SharedObject::Isolation { link, .. } => bridge::reopen(host, link),
        SharedObject::ParentMode { .. }
        | SharedObject::HostRoute { .. }
        | SharedObject::NftElement { .. } => Ok(()),
        SharedObject::Ruleset => ruleset::delete_tables(host).map(drop),
    }
}
