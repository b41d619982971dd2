//! A host interface as a port of the bridge.
//!
//! Why it is so: docs/decisions/interfaces.md.

use weft_kernel::address;
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::Batch;
use weft_node::{Host, WeftError};

use super::Created;

fn conflict(name: &str, why: String) -> WeftError {
    WeftError::Conflict {
        key: "uplink",
        name: name.to_owned(),
        why,
    }
}

/// The interface, if it can be made a port of this bridge without harm.
pub(crate) fn look(host: &mut Host, name: &str, bridge: Option<u32>) -> Result<Link, WeftError> {
    let socket = host.route()?;
    let found = link::find(socket, name)?.ok_or_else(|| conflict(name, "does not exist".into()))?;
    match found.controller {
        Some(controller) if Some(controller) == bridge => return Ok(found),
        Some(controller) => {
            let why = format!("is already part of the interface with index {controller}");
            return Err(conflict(name, why));
        }
        None => {}
    }
    // Addresses of a bridge port do not work: taking it would cut the host off.
    let addresses = address::list(socket, found.index)?;
    let own = addresses.iter().find(|a| !is_link_local(&a.address));
    match own {
        Some(own) => {
            let address = own.address;
            Err(conflict(
                name,
                format!("has the address {address}; move it to the bridge first"),
            ))
        }
        None => Ok(found),
    }
}

fn is_link_local(address: &ipnetwork::IpNetwork) -> bool {
    match address {
        ipnetwork::IpNetwork::V6(v6) => v6.ip().is_unicast_link_local(),
        ipnetwork::IpNetwork::V4(_) => false,
    }
}

/// Makes it a port and brings it up.
pub(crate) fn ensure(
    host: &mut Host,
    uplink: &Link,
    bridge: u32,
    created: &mut Created,
) -> Result<(), WeftError> {
    if uplink.controller == Some(bridge) {
        return Ok(());
    }
    let mut batch = Batch::new();
    link::set_controller(uplink.index, Some(bridge), &mut batch);
    link::set_up(uplink.index, &mut batch);
    host.route()?.commit(batch)?;
    created.uplink = Some(uplink.name.clone());
    Ok(())
}

/// Releases it.
pub(crate) fn remove(host: &mut Host, name: &str, bridge: &str) -> Result<(), WeftError> {
    let socket = host.route()?;
    let (Some(uplink), Some(bridge)) = (link::find(socket, name)?, link::find(socket, bridge)?)
    else {
        return Ok(());
    };
    if uplink.controller != Some(bridge.index) {
        return Ok(());
    }
    let mut batch = Batch::new();
    link::set_controller(uplink.index, None, &mut batch);
    Ok(socket.commit(batch)?)
}
