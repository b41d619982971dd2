//! Subnets that the host has already: a network that takes one of them cuts off what is there.
//!
//! Why it is so: docs/decisions/addresses.md.

use ipnetwork::IpNetwork;
use weft_cni::IpFamily;
use weft_kernel::address::{self, Assigned};
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::route;
use weft_node::names::BRIDGE_ALIAS;
use weft_node::{Host, WeftError};

/// Whether neighbours by `other` would be looked for by the interface with `gateway` from then on: the more
/// particular prefix wins, and of two alike the older one, until it is set anew.
fn takes(gateway: &IpNetwork, other: &IpNetwork) -> bool {
    gateway.is_ipv4() == other.is_ipv4()
        && gateway.prefix() >= other.prefix()
        && gateway.contains(other.ip())
}

fn is_link_local(address: &IpNetwork) -> bool {
    match address {
        IpNetwork::V6(v6) => v6.ip().is_unicast_link_local(),
        IpNetwork::V4(_) => false,
    }
}

/// Another interface's address that a gateway address would be in the way of, or the router behind it.
fn taken(
    socket: &mut RouteSocket,
    index: u32,
    gateway: &IpNetwork,
) -> Result<Option<Assigned>, WeftError> {
    let bits = if gateway.is_ipv4() { 32 } else { 128 };
    if is_link_local(gateway) || gateway.prefix() == bits {
        return Ok(None);
    }
    let others: Vec<Assigned> = address::list_all(socket)?
        .into_iter()
        .filter(|one| one.link != index && !is_link_local(&one.address))
        .collect();
    if let Some(other) = others.iter().find(|one| takes(gateway, &one.address)) {
        return Ok(Some(*other));
    }
    // The way to a router within a wider prefix.
    for route in route::list(socket, IpFamily::of(gateway.ip()))? {
        let Some(router) = route.gateway.filter(|router| gateway.contains(*router)) else {
            continue;
        };
        let mut near = others.iter().filter(|one| one.link == route.link);
        let is_reached_by = |one: &&Assigned| {
            one.address.contains(router) && one.address.prefix() <= gateway.prefix()
        };
        if let Some(other) = near.find(is_reached_by) {
            return Ok(Some(*other));
        }
    }
    Ok(None)
}

/// Makes sure that a gateway address is in the way of no other. A bridge of Weft's that has no ports any more (the
/// network's bridge has got another name) gives up the subnet.
pub(crate) fn claim(host: &mut Host, index: u32, gateway: &IpNetwork) -> Result<(), WeftError> {
    let socket = host.route()?;
    while let Some(other) = taken(socket, index, gateway)? {
        let holder = link::find_index(socket, other.link)?;
        let is_left = |link: &Link, ports: &[Link]| link.alias == BRIDGE_ALIAS && ports.is_empty();
        let (name, is_left) = match &holder {
            Some(link) => {
                let ports = link::ports_of(socket, link.index)?;
                (link.name.clone(), is_left(link, &ports))
            }
            None => (other.link.to_string(), false),
        };
        if !is_left {
            return Err(in_the_way(gateway, &name, &other.address));
        }
        let mut batch = Batch::new();
        address::delete(other.link, &other.address, &mut batch);
        match socket.commit(batch) {
            Err(error) if !error.is_absent() => return Err(error.into()),
            _ => {
                tracing::warn!(bridge = name, address = %other.address, "taken from a bridge without ports")
            }
        }
    }
    Ok(())
}

fn in_the_way(gateway: &IpNetwork, name: &str, address: &IpNetwork) -> WeftError {
    WeftError::Conflict {
        key: "ipam",
        name: format!("{}/{}", gateway.network(), gateway.prefix()),
        why: format!(
            "is where {name} has {address}: what is reached by {name} would be cut off. Give the \
             network another subnet, or remove what {name} has"
        ),
    }
}

/// Where a gateway address of a network is in the way of something that came later: a text for each.
///
/// # Errors
/// The kernel's.
pub(crate) fn overlaps(host: &mut Host, link_name: &str) -> Result<Vec<String>, WeftError> {
    let socket = host.route()?;
    let Some(found) = link::find(socket, link_name)? else {
        return Ok(Vec::new());
    };
    let mut texts = Vec::new();
    for own in address::list(socket, found.index)? {
        let Some(other) = taken(socket, found.index, &own.address)? else {
            continue;
        };
        if let Some(holder) = link::find_index(socket, other.link)? {
            let (own, other) = (own.address, other.address);
            texts.push(format!(
                "{link_name} has {own}, which covers {other} of {}: give one of them another subnet",
                holder.name
            ));
        }
    }
    Ok(texts)
}
