//! The interface with the default route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_kernel::link::{self, Link};
use weft_kernel::netlink::RouteSocket;
use weft_kernel::route;

use crate::error::WeftError;

/// The interface by which packets to anywhere leave, IPv4's first.
pub fn interface(socket: &mut RouteSocket) -> Result<Option<Link>, WeftError> {
    // Any address will do that has no route of its own: these are for documentation (RFC
    // 5737, RFC 9637).
    let anywhere: [IpAddr; 2] = [
        Ipv4Addr::new(198, 51, 100, 1).into(),
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 1).into(),
    ];
    for destination in anywhere {
        if let Some(index) = route::output_link(socket, destination)?
            && let Some(found) = link::find_index(socket, index)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
