//! Connections that were tracked before a port was published, or are after it no longer is: the kernel
//! would go on sending them where they went before.
//!
//! Why it is so: docs/decisions/ports.md.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_kernel::address;
use weft_kernel::conntrack::Connection;
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, PortRecord};

use crate::ruleset;

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
pub fn end_stale(host: &mut Host, ports: &[PortRecord]) -> Result<(), WeftError> {
    let of_udp: Vec<&PortRecord> = ports.iter().filter(|port| port.protocol == UDP).collect();
    if of_udp.is_empty() {
        return Ok(());
    }
    let own = address::list_all(host.route()?)?;
    // What only passes through the host to the same port elsewhere is none of ours.
    let is_host = |ip: IpAddr| ip.is_loopback() || own.iter().any(|one| one.address.ip() == ip);
    end(host, &|connection| {
        is_host(connection.original.destination)
            && of_udp
                .iter()
                .any(|port| asks_for(connection, port) && !leads_to(connection, port))
    })
}

/// A network is closed from now on: what began with its addresses while nothing kept it out ends.
pub fn end_about(host: &mut Host, networks: &[IpNetwork]) -> Result<(), WeftError> {
    let is_in = |ip: IpAddr| networks.iter().any(|network| network.contains(ip));
    end(host, &|connection| {
        let (asked, answer) = (&connection.original, &connection.reply);
        is_in(asked.source) || is_in(asked.destination) || is_in(answer.source)
    })
}

/// Rules were put back after a time without: what began meanwhile is tracked as it was sent, and would go on so.
/// Flows to published ports, and those by which outside would see a container's own address, end.
pub fn end_untranslated(host: &mut Host, records: &[AttachmentRecord]) -> Result<(), WeftError> {
    let ports: Vec<PortRecord> = records
        .iter()
        .flat_map(|one| one.ports())
        .cloned()
        .collect();
    let hidden: HashSet<IpAddr> = records
        .iter()
        .filter(|record| record.nft.iter().any(ruleset::is_translation))
        .flat_map(addresses_of)
        .collect();
    if ports.is_empty() && hidden.is_empty() {
        return Ok(());
    }
    let own: HashSet<IpAddr> = address::list_all(host.route()?)?
        .iter()
        .map(|one| one.address.ip())
        .collect();
    let local = ruleset::Untranslated::of(records);
    let served: Vec<&PortRecord> = ports.iter().collect();
    end(host, &|connection| {
        let asked = &connection.original;
        let is_bare = connection.reply.destination == asked.source;
        let is_seen = hidden.contains(&asked.source)
            && is_bare
            && !own.contains(&asked.destination)
            && !local.contains(asked.source, asked.destination);
        let is_lost = own.contains(&asked.destination)
            && connection.reply.source == asked.destination
            && served.iter().any(|port| asks_for(connection, port));
        is_seen || is_lost
    })
}

/// Ports are published no more: what came by them ends.
pub fn end_published(host: &mut Host, ports: &[PortRecord]) -> Result<(), WeftError> {
    if ports.is_empty() {
        return Ok(());
    }
    end(host, &|connection| {
        ports.iter().any(|port| came_by(connection, port))
    })
}

fn came_by(connection: &Connection, port: &PortRecord) -> bool {
    asks_for(connection, port) && leads_to(connection, port)
}

/// Attachments go: what came by their ports ends, and everything to and from the addresses of those that
/// were kept apart, so that it does not go on with their next holder. One look at the kernel's list
/// for all of them.
pub fn end_of_gone(host: &mut Host, records: &[&AttachmentRecord]) -> Result<(), WeftError> {
    let mut addresses: HashSet<IpAddr> = records.iter().flat_map(|one| kept_apart(one)).collect();
    let mut ports: Vec<&PortRecord> = records
        .iter()
        .flat_map(|record| record.ports().iter().chain(&record.ending.ports))
        .collect();
    if addresses.is_empty() && ports.is_empty() {
        return Ok(());
    }
    // Another IPAM plugin may have given an address away again, if this DEL is not the first.
    if records.iter().any(|record| has_foreign_address(record)) {
        let others = host.attachments()?;
        let others = others
            .iter()
            .filter(|other| records.iter().all(|record| record.id != other.id));
        let taken: HashSet<IpAddr> = others.flat_map(addresses_of).collect();
        addresses.retain(|address| !taken.contains(address));
        ports.retain(|port| !taken.contains(&port.address));
    }
    end(host, &|connection| {
        addresses.contains(&connection.original.source)
            || addresses.contains(&connection.reply.source)
            || ports.iter().any(|port| came_by(connection, port))
    })
}

/// The addresses of an attachment that is, or was, kept apart.
fn kept_apart(record: &AttachmentRecord) -> Vec<IpAddr> {
    let is_open =
        record.isolation.is_none() && !record.is_kept_apart() && !record.ending.kept_apart;
    match is_open {
        true => Vec::new(),
        false => addresses_of(record).collect(),
    }
}

/// On another suite's interface only weft-firewall's part of the record has them.
fn addresses_of(record: &AttachmentRecord) -> impl Iterator<Item = IpAddr> {
    let own = record.addresses.iter().map(|one| one.address.ip());
    let given = record.apart().into_iter().flat_map(|one| &one.addresses);
    own.chain(given.copied())
}

/// Whether an address is not leased from Weft's store, which would give it to no other meanwhile.
fn has_foreign_address(record: &AttachmentRecord) -> bool {
    record.addresses.is_empty() || record.addresses.iter().any(|one| one.pool.is_none())
}

fn end(host: &mut Host, is_wanted: &dyn Fn(&Connection) -> bool) -> Result<(), WeftError> {
    let mut tracked = host.nft()?.conntrack();
    let found = tracked.find(is_wanted)?;
    Ok(tracked.delete(&found)?)
}
