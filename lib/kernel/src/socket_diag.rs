//! Sockets of a namespace, as `NETLINK_SOCK_DIAG` lists them (linux/sock_diag.h, linux/inet_diag.h).
//!
//! `/proc/net/tcp` shows the same, but walks the table of all connections for it, which this does not
//! for sockets that listen.

use std::collections::BTreeSet;

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

/// The local ports of the sockets of a protocol (IPPROTO_TCP, IPPROTO_UDP) in the calling thread's
/// namespace that are in one of `states` (include/net/tcp_states.h), of both address families.
///
/// # Errors
/// The socket's, and the kernel's if it lists no such sockets.
pub(crate) fn local_ports(protocol: u8, states: &[u8]) -> Result<BTreeSet<u16>, KernelError> {
    let mut socket = Transport::open(NETLINK_SOCK_DIAG)?;
    let states = states.iter().fold(0_u32, |all, state| all | 1 << state);
    let mut ports = BTreeSet::new();
    for family in [AF_INET, AF_INET6] {
        let mut request = vec![family, protocol, 0, 0];
        request.extend(states.to_ne_bytes());
        request.resize(request.len() + SOCKET_ID_BYTES, 0);
        let answers = socket.dump(BY_FAMILY, &request, "list sockets")?;
        let port = |answer: &Vec<u8>| {
            let bytes = answer.get(PORT_AT..)?.first_chunk::<2>()?;
            Some(u16::from_be_bytes(*bytes))
        };
        ports.extend(answers.iter().filter_map(port));
    }
    Ok(ports)
}
