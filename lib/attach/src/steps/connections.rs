//! Connections that were tracked before a port was published, or are after it no longer is: the kernel
//! would go on sending them where they went before.

use std::net::IpAddr;

use weft_kernel::address;
use weft_kernel::conntrack::{Connection, ConntrackSocket};
use weft_store::{AttachmentRecord, PortRecord};

use crate::error::AttachError;
use crate::host::Host;

const UDP: u8 = 17;

fn asks_for(connection: &Connection, port: &PortRecord) -> bool {
    let asked = &connection.original;
    asked.protocol == port.protocol
        && asked.destination_port == port.host_port
        && asked.destination.is_ipv4() == port.address.is_ipv4()
        && port.host_ip.is_none_or(|ip| ip == asked.destination)
}

fn leads_to(connection: &Connection, port: &PortRecord) -> bool {
    connection.reply.source == port.address && connection.reply.source_port == port.container_port
}

/// A port was published: what was sent to it on the host before, and is not answered by this
/// container, ends. Only of UDP: a TCP connection was refused, or has another owner.
pub(crate) fn end_stale(host: &mut Host, ports: &[PortRecord]) -> Result<(), AttachError> {
    let of_udp: Vec<&PortRecord> = ports.iter().filter(|port| port.protocol == UDP).collect();
    if of_udp.is_empty() {
        return Ok(());
    }
    let own = address::list_all(host.route()?)?;
    // What only passes through the host to the same port elsewhere is none of ours.
    let is_host = |ip: IpAddr| ip.is_loopback() || own.iter().any(|one| one.address.ip() == ip);
    end(&|connection| {
        is_host(connection.original.destination)
            && of_udp
                .iter()
                .any(|port| asks_for(connection, port) && !leads_to(connection, port))
    })
}

/// Ports are published no more: what came by them ends.
pub(crate) fn end_published(ports: &[PortRecord]) -> Result<(), AttachError> {
    if ports.is_empty() {
        return Ok(());
    }
    end(&|connection| {
        ports
            .iter()
            .any(|port| asks_for(connection, port) && leads_to(connection, port))
    })
}

/// A container of a closed network goes: what was let in to its addresses, or out from them, ends, so
/// that it does not go on with whoever has them next.
pub(crate) fn end_of_closed(record: &AttachmentRecord) -> Result<(), AttachError> {
    let is_open = record.isolation.is_none() && record.firewall.is_none();
    if is_open || record.addresses.is_empty() {
        return Ok(());
    }
    let is_own = |ip: IpAddr| record.addresses.iter().any(|one| one.address.ip() == ip);
    end(&|connection| is_own(connection.original.source) || is_own(connection.reply.source))
}

fn end(is_wanted: &dyn Fn(&Connection) -> bool) -> Result<(), AttachError> {
    let mut socket = ConntrackSocket::open()?;
    let found = socket.find(is_wanted)?;
    Ok(socket.delete(&found)?)
}
