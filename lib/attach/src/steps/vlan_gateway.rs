//! The host's interface in one VLAN of a bridge: a pair of which one end is a port in that VLAN
//! and the other, `<bridge>.<vlan>`, holds the gateway addresses.

use weft_cni::Mac;
use weft_kernel::NetNs;
use weft_kernel::link::{self, Change, Link, VethPair};
use weft_kernel::netlink::Batch;
use weft_node::names::{bridge_mac, vlan_gateway_port};
use weft_node::{Host, WeftError};

use super::veth::{VlanSettings, set_vlans};
use super::{Created, router_advertisements};

const ALIAS: &str = "weft vlan gateway";

/// The MAC of either end: stable, as a bridge's.
pub(crate) fn mac(end: &str) -> Mac {
    bridge_mac(end, &weft_kernel::host::machine_id().unwrap_or_default())
}

/// Makes the interface if it is missing.
pub(crate) fn ensure(
    host: &mut Host,
    name: &str,
    (vlan, group): (u16, u32),
    bridge: (u32, u32),
    created: &mut Created,
) -> Result<Link, WeftError> {
    if let Some(found) = link::find(host.route()?, name)? {
        if !found.is_up && found.alias == ALIAS {
            // The process that made it was killed before this, or is about to do it.
            bring_up(host, &found, group)?;
        } else if found.alias == ALIAS && found.ipv6.is_some_and(|ipv6| ipv6.accept_ra != 0) {
            router_advertisements::ignore(name);
        }
        return Ok(found);
    }
    let (bridge_index, mtu) = bridge;
    let vanished = || WeftError::Conflict {
        key: "vlan",
        name: name.to_owned(),
        why: "vanished while it was being made".to_owned(),
    };
    let port = vlan_gateway_port(name);
    let mut batch = Batch::new();
    let pair = VethPair::<NetNs> {
        name: &port,
        mac: mac(&port),
        mtu,
        controller: Some(bridge_index),
        peer_name: name,
        peer_mac: mac(name),
        peer_netns: None,
    };
    pair.create(&mut batch);
    let change = |is_port| Change {
        alias: Some(ALIAS),
        without_ipv6_address: is_port && mtu >= super::veth::IPV6_MINIMUM_MTU,
        up: is_port,
        ..Change::default()
    };
    change(true).apply(&port, &mut batch);
    change(false).apply(name, &mut batch);
    match host.route()?.commit(batch) {
        Ok(()) => {
            created.vlan_gateway = Some(name.to_owned());
            let made = link::find(host.route()?, name)?;
            bring_up(host, &made.ok_or_else(vanished)?, group)?;
            let settings = VlanSettings {
                native: Some(vlan),
                trunk: &[],
                keep_default: false,
            };
            set_vlans(host, &port, settings)?;
        }
        // Another ADD made it in the meantime.
        Err(error) if error.is_present() => {}
        Err(error) => return Err(error.into()),
    }
    let found = link::find(host.route()?, name)?;
    found.ok_or_else(vanished)
}

/// Brings the interface up, deaf to what containers advertise.
fn bring_up(host: &mut Host, link: &Link, group: u32) -> Result<(), WeftError> {
    router_advertisements::ignore(&link.name);
    let mut batch = Batch::new();
    link::set_group(link.index, group, &mut batch);
    link::set_up(link.index, &mut batch);
    Ok(host.route()?.commit(batch)?)
}

/// Deletes the interface if Weft made it.
pub(crate) fn remove(host: &mut Host, name: &str) -> Result<(), WeftError> {
    match link::find(host.route()?, name)? {
        Some(found) if found.alias == ALIAS => super::links::delete_alone(host, name),
        _ => Ok(()),
    }
}
