//! Sockets of a namespace, as `NETLINK_SOCK_DIAG` lists them (linux/sock_diag.h, linux/inet_diag.h).
//!
//! `/proc/net/tcp` shows the same, but walks the table of all connections for it, which this does not
//! for sockets that listen.
//!
//! Why it is so: docs/decisions/ports.md.

use std::net::{IpAddr, SocketAddr};

use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::error::KernelError;
use crate::netlink::Transport;

/// SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// struct inet_diag_sockid: no socket in particular.
const SOCKET_ID_BYTES: usize = 48;
/// Where struct inet_diag_msg has the local port, big-endian.
const PORT_AT: usize = 4;
/// And the local address.
const ADDRESS_AT: usize = 8;

/// The local addresses of the sockets of a protocol (IPPROTO_TCP, IPPROTO_UDP) in the calling thread's
/// namespace that are in one of `states` (include/net/tcp_states.h), of both address families.
///
/// # Errors
/// The socket's, and the kernel's if it lists no such sockets.
pub(crate) fn local_addresses(protocol: u8, states: &[u8]) -> Result<Vec<SocketAddr>, KernelError> {
    let mut socket = Transport::open(NETLINK_SOCK_DIAG)?;
    let states = states.iter().fold(0_u32, |all, state| all | 1 << state);
    let mut addresses = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let mut request = vec![family, protocol, 0, 0];
        request.extend(states.to_ne_bytes());
        request.resize(request.len() + SOCKET_ID_BYTES, 0);
        let answers = socket.dump(BY_FAMILY, &request, "list sockets")?;
        addresses.extend(
            answers
                .iter()
                .filter_map(|answer| local_address(family, answer)),
        );
    }
    Ok(addresses)
}

fn local_address(family: u8, answer: &[u8]) -> Option<SocketAddr> {
    let port = answer.get(PORT_AT..)?.first_chunk::<2>()?;
    let address = answer.get(ADDRESS_AT..)?;
    let ip = match family {
        AF_INET => IpAddr::from(*address.first_chunk::<4>()?),
        _ => IpAddr::from(*address.first_chunk::<16>()?),
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}
