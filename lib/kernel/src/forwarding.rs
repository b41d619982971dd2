//! Whether the namespace forwards packets.
//!
//! Read by netlink: a look-up below `/proc/sys/net` costs more with every namespace there is.
//!
//! Why it is so: docs/decisions/speed.md.

use weft_cni::IpFamily;

use crate::error::KernelError;
use crate::netlink::{RouteSocket, kind};
use crate::nft::{attribute_bytes, attributes};
use crate::sysctl;

/// The sysctl that switches forwarding of what comes by one interface, with slashes.
pub fn sysctl_of(family: IpFamily, link: &str) -> String {
    match family {
        IpFamily::V4 => format!("net/ipv4/conf/{link}/forwarding"),
        IpFamily::V6 => format!("net/ipv6/conf/{link}/forwarding"),
    }
}

/// The sysctl that switches forwarding, with slashes.
pub const fn sysctl_of_all(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "net/ipv4/ip_forward",
        IpFamily::V6 => "net/ipv6/conf/all/forwarding",
    }
}

/// Whether packets of the family are forwarded (RTM_GETNETCONF, linux/netconf.h).
///
/// # Errors
/// The socket's; a kernel without the family refuses.
pub fn is_on(socket: &mut RouteSocket, family: IpFamily) -> Result<bool, KernelError> {
    const NETCONFA_IFINDEX: u16 = 1;
    const NETCONFA_IFINDEX_ALL: i32 = -1;
    const NETCONFA_FORWARDING: u16 = 2;
    let header = [family.number(), 0, 0, 0];
    let mut query = header.to_vec();
    query.extend(attribute_bytes(
        NETCONFA_IFINDEX,
        &NETCONFA_IFINDEX_ALL.to_ne_bytes(),
    ));
    let answer = socket.get(
        kind::GET_SETTINGS,
        &query,
        "read whether packets are forwarded",
    )?;
    let value = attributes(answer.get(header.len()..).unwrap_or_default())
        .find(|(kind, _)| *kind == NETCONFA_FORWARDING)
        .and_then(|(_, value)| Some(i32::from_ne_bytes(*value.first_chunk()?)));
    Ok(value.is_some_and(|value| value != 0))
}

/// Switches forwarding on. Whether it was off.
///
/// # Errors
/// The socket's, and [`KernelError::Sysctl`].
pub fn ensure(socket: &mut RouteSocket, family: IpFamily) -> Result<bool, KernelError> {
    if is_on(socket, family)? {
        return Ok(false);
    }
    sysctl::write(sysctl_of_all(family), "1").map(|()| true)
}
