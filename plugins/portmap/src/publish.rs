//! Ports of the host that lead to a container.
//!
//! They become part of the attachment's record; a record is made if the interface plugin is not
//! Weft's. The attachment's DEL removes them.
//!
//! Why it is so: docs/decisions/ports.md.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnetwork::IpNetwork;
use weft_attach::chained::own_addresses;
use weft_attach::chained::record::{ends_with_interface, foreign, recorded, take_back, undo};
use weft_attach::del::idle;
use weft_attach::steps::{ports, route_localnet};
use weft_attach::{Differences, dead, require_prev_result};
use weft_cni::result::Interface;
use weft_cni::{AttachmentId, CniResult, IpFamily, Request};
use weft_firewall::{connections, ruleset};
use weft_kernel::listener::{self, Transport};
use weft_kernel::{link, route};
use weft_node::names::host_link_name;
use weft_node::{Host, WeftError, namespaces};
use weft_store::{
    Addition, AttachmentRecord, LINKS_LOCK, NftRecord, PortRecord, SharedObject, Sharing,
    StoreError, Transaction,
};

/// One mapping of the configuration, not yet of one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP.
    pub protocol: u8,
    /// On the host, 1 to 65535.
    pub host_port: u16,
    /// The host's address; unspecified for all of its family, none for all.
    pub host_ip: Option<IpAddr>,
    /// In the container, 1 to 65535.
    pub container_port: u16,
}

/// What is to be published, and how.
#[derive(Debug, Clone, Default)]
pub struct Publishing {
    /// What is to be published, ranges included.
    pub mappings: Vec<PortMapping>,
    /// The host becomes the source where answers would miss it: from the container's own network,
    /// and from localhost.
    pub source_nat: bool,
    /// The host becomes the source of everything.
    pub hide_sources: bool,
}

/// What publishing adds to a record.
#[derive(Debug, Default)]
struct Parts {
    ports: Vec<PortRecord>,
    nft: Vec<NftRecord>,
    shared: Vec<SharedObject>,
    /// The interface that packets to 127.0.0.1 have to leave by, and whether they may already.
    localhost: Option<(String, bool)>,
}

/// Publishes ports and returns the result of the plugins before. What a container that is gone still has is free.
///
/// # Errors
/// Any; nothing is published then.
pub(crate) fn add(
    host: &mut Host,
    plugin: &str,
    request: &Request,
    wanted: &Publishing,
) -> Result<CniResult, WeftError> {
    dead::retry(host, |host| add_once(host, plugin, request, wanted))
}

fn add_once(
    host: &mut Host,
    plugin: &str,
    request: &Request,
    wanted: &Publishing,
) -> Result<CniResult, WeftError> {
    let result = require_prev_result(request)?;
    let id = request.attachment_id()?;
    if wanted.mappings.is_empty() {
        return Ok(result);
    }
    let path = request.env.get("CNI_NETNS").unwrap_or_default();
    let netns = namespaces::record_at(path)?;
    // A process that switches off what is idle waits until it is clear whether it is needed again.
    let lock = host.store.named_lock(LINKS_LOCK, Sharing::Shared)?;
    let mut parts = parts(host, &id, &result, wanted)?;
    refuse_listeners(&parts.ports, &id)?;
    let mut part = AttachmentRecord::new(id.clone(), plugin);
    part.nft = std::mem::take(&mut parts.nft);
    host.store.write(|transaction| {
        share_localhost(&mut parts, transaction)?;
        let there = transaction.attachment(&id)?;
        let mut record = there.unwrap_or_else(|| foreign(&id, plugin, &netns));
        if !record.ports().is_empty() {
            return Err(WeftError::Conflict {
                key: "portMappings",
                name: record
                    .ports()
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
                why: "is published for this attachment already: DEL comes first".to_owned(),
            });
        }
        let served = ports::served_by_others(transaction, &record)?;
        part.nft
            .retain(|element| !served.contains(&ports::key_of(element)));
        record.set_addition(Addition::Ports(parts.ports.clone()));
        let before = record.nft.len();
        record.nft.append(&mut part.nft);
        record.shared.extend(parts.shared.iter().cloned());
        transaction.replace_attachment(&record)?;
        part.nft = record.nft.split_off(before);
        Ok(())
    })?;
    part.shared.clone_from(&parts.shared);
    let published = publish(host, &part, &parts);
    // Removing takes it for itself.
    drop(lock);
    if let Err(error) = published {
        let end = |host: &mut Host| connections::end_published(host, &parts.ports);
        return Err(undo(host, &part, end, &take_out, error));
    }
    Ok(result)
}

fn publish(host: &mut Host, part: &AttachmentRecord, parts: &Parts) -> Result<(), WeftError> {
    weft_firewall::add_elements(host, part)?;
    if let Some((name, _)) = &parts.localhost {
        route_localnet::switch(host, name, true)?;
    }
    let own: BTreeSet<&NftRecord> = part.nft.iter().collect();
    let is_served = |port: &&PortRecord| own.contains(&ruleset::port_element(port));
    let ports: Vec<PortRecord> = parts.ports.iter().filter(is_served).cloned().collect();
    connections::end_stale(host, &ports)
}

fn take_out(record: &mut AttachmentRecord) {
    let ports = record.take_ports();
    if ends_with_interface(record) {
        record.ending.ports.extend(ports);
        record.ending.ports.sort();
        record.ending.ports.dedup();
    }
    record.nft.retain(|element| !ruleset::is_published(element));
    let is_own = |object: &SharedObject| {
        let element = object.nft_element();
        element.is_some_and(ruleset::is_published)
            || matches!(object, SharedObject::RouteLocalnet { .. })
    };
    record.shared.retain(|object| !is_own(object));
}

/// The first address of each family of the attachment's own interface.
fn addresses(result: &CniResult, ifname: &str) -> Vec<IpNetwork> {
    let own = own_addresses(result, ifname);
    let first = |family: IpFamily| own.iter().find(|one| family.has(one.ip())).copied();
    IpFamily::ALL.into_iter().filter_map(first).collect()
}

fn parts(
    host: &mut Host,
    id: &AttachmentId,
    result: &CniResult,
    wanted: &Publishing,
) -> Result<Parts, WeftError> {
    let addresses = addresses(result, id.ifname.as_str());
    let mut parts = Parts::default();
    // There may be thousands, and a port has up to five elements.
    let count = wanted.mappings.len() * addresses.len();
    parts.ports.reserve(count);
    parts.nft.reserve(5 * count + addresses.len());
    let mut unserved = Vec::new();
    for mapping in &wanted.mappings {
        let ports = ports_of(mapping, &addresses);
        // All addresses of a family that the container does not have are none.
        let is_any = mapping.host_ip.is_some_and(|ip| ip.is_unspecified());
        if ports.is_empty() && !is_any {
            unserved.push(mapping);
        }
        parts.ports.extend(ports);
    }
    parts.ports.sort();
    parts.ports.dedup();
    for mapping in unserved {
        pass_over(mapping, &parts.ports, id)?;
    }
    refuse_twice(&parts.ports)?;
    // The host itself reaches its containers anyway.
    let is_loopback = |port: &&PortRecord| port.host_ip.is_some_and(|ip| ip.is_loopback());
    let open = || parts.ports.iter().filter(|port| !is_loopback(port));
    // One set after the other, in the order of their names: what is sorted already is sorted fast.
    if wanted.hide_sources {
        parts
            .nft
            .extend(parts.ports.iter().map(ruleset::hidden_element));
    }
    parts.nft.extend(open().map(ruleset::opened_element));
    parts
        .nft
        .extend(parts.ports.iter().map(ruleset::port_element));
    if let Some(link) = bridge_port(host, id, result)? {
        let reached = open().map(|port| ruleset::reached_element(&link, port));
        parts.nft.extend(reached);
    }
    if wanted.source_nat {
        parts
            .nft
            .extend(parts.ports.iter().map(ruleset::reflected_element));
        // A container that has its address alone is answered past the host by none but itself.
        let (alone, addresses): (Vec<IpNetwork>, Vec<IpNetwork>) =
            addresses.iter().copied().partition(is_alone);
        parts
            .nft
            .extend(alone.iter().map(|one| ruleset::self_element(one.ip())));
        let is_used =
            |address: &&IpNetwork| parts.ports.iter().any(|port| port.address == address.ip());
        let element = |one: &IpNetwork| SharedObject::NftElement {
            element: ruleset::hairpin_element(one),
        };
        let shared: Vec<SharedObject> = addresses.iter().filter(is_used).map(element).collect();
        parts.shared.extend(shared);
        localhost(host, &mut parts)?;
    }
    // Several ports of the host may lead to one of the container.
    parts.nft.sort();
    parts.nft.dedup();
    Ok(parts)
}

/// The port of a bridge that has the container, among the interfaces that the plugins before have made on the host.
fn bridge_port(
    host: &mut Host,
    id: &AttachmentId,
    result: &CniResult,
) -> Result<Option<String>, WeftError> {
    let own = host_link_name(id);
    let on_host = |one: &&Interface| one.sandbox.is_empty();
    let mut names = result
        .interfaces
        .iter()
        .filter(on_host)
        .map(|one| &one.name);
    if names.clone().any(|name| *name == own) {
        return Ok(Some(own));
    }
    names.try_fold(None, |found, name| match found {
        Some(_) => Ok(found),
        None => {
            let there = link::find(host.route()?, name)?;
            let is_port = there.is_some_and(|link| link.controller.is_some());
            Ok(is_port.then(|| name.clone()))
        }
    })
}

/// Whether the container's link has no other interface.
fn is_alone(address: &IpNetwork) -> bool {
    address.prefix() == IpFamily::of(address.ip()).bits()
}

/// Refuses a port of the host that is to lead to two ports. Sorted, such are neighbours.
fn refuse_twice(ports: &[PortRecord]) -> Result<(), WeftError> {
    for pair in ports.windows(2) {
        let [port, other] = pair else { continue };
        let is_same = (
            other.protocol,
            other.host_port,
            other.host_ip,
            other.address,
        ) == (port.protocol, port.host_port, port.host_ip, port.address);
        if is_same {
            return Err(WeftError::Conflict {
                key: "portMappings",
                name: port.to_string(),
                why: format!(
                    "leads to port {} and to port {}: it can only be one",
                    port.container_port, other.container_port
                ),
            });
        }
    }
    Ok(())
}

/// Whether the host itself may ask for a port at 127.0.0.1, and by which interface it has to leave.
fn localhost(host: &mut Host, parts: &mut Parts) -> Result<(), WeftError> {
    let is_asked = |port: &&PortRecord| match port.host_ip {
        None => port.address.is_ipv4(),
        Some(ip) => ip.is_ipv4() && ip.is_loopback(),
    };
    let Some(address) = parts.ports.iter().find(is_asked).map(|port| port.address) else {
        return Ok(());
    };
    let Some(index) = route::output_link(host.route()?, address)? else {
        return Ok(());
    };
    let Some(there) = link::find_index(host.route()?, index)? else {
        return Ok(());
    };
    parts.localhost = Some((there.name, there.routes_localnet));
    Ok(())
}

/// The way of 127.0.0.1 is shared with others, unless another program has opened it, which may need it.
fn share_localhost(parts: &mut Parts, transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let Some((link, is_on)) = &parts.localhost else {
        return Ok(());
    };
    let object = SharedObject::RouteLocalnet { link: link.clone() };
    // What no attachment uses any more and is still to be switched off is Weft's too.
    let is_ours =
        || Ok(transaction.idle_objects()?.contains(&object) || transaction.users_of(&object)? > 0);
    if *is_on && !is_ours()? {
        parts.localhost = None;
    } else {
        parts.shared.push(object);
    }
    Ok(())
}

/// A mapping that leads nowhere is no reason to keep a container from being started, if its port is published by
/// another one (127.0.0.1 and ::1 are a usual pair).
fn pass_over(
    mapping: &PortMapping,
    ports: &[PortRecord],
    id: &AttachmentId,
) -> Result<(), WeftError> {
    let at = mapping.host_ip.map(|ip| format!(" at {ip}"));
    let name = format!("port {}{}", mapping.host_port, at.unwrap_or_default());
    let why = match mapping.host_ip {
        Some(ip) if is_ipv6_loopback(ip) => {
            "cannot be published: the kernel forwards nothing from there; use 127.0.0.1".to_owned()
        }
        Some(IpAddr::V4(_)) => format!("{} has no IPv4 address to lead to", id.ifname),
        Some(IpAddr::V6(_)) => format!("{} has no IPv6 address to lead to", id.ifname),
        None => format!("{} has no address to lead to", id.ifname),
    };
    let is_served = ports
        .iter()
        .any(|port| (port.protocol, port.host_port) == (mapping.protocol, mapping.host_port));
    if is_served {
        tracing::warn!("portMappings: {name} is passed over: {why}");
        return Ok(());
    }
    Err(WeftError::Conflict {
        key: "portMappings",
        name,
        why,
    })
}

fn is_ipv6_loopback(ip: IpAddr) -> bool {
    ip.is_ipv6() && ip.is_loopback()
}

/// A mapping in each family that it is of.
fn ports_of(mapping: &PortMapping, addresses: &[IpNetwork]) -> Vec<PortRecord> {
    let of_family = |address: &&IpNetwork| {
        mapping
            .host_ip
            .is_none_or(|ip| ip.is_ipv4() == address.is_ipv4() && !is_ipv6_loopback(ip))
    };
    addresses
        .iter()
        .filter(of_family)
        .map(|address| PortRecord {
            protocol: mapping.protocol,
            host_port: mapping.host_port,
            host_ip: mapping.host_ip.filter(|ip| !ip.is_unspecified()),
            address: address.ip(),
            container_port: mapping.container_port,
        })
        .collect()
}

/// Refuses a port that a process of the host has: it would not be reached any more. The container's
/// own runtime is no such process: Podman holds the ports of its containers.
fn refuse_listeners(ports: &[PortRecord], id: &AttachmentId) -> Result<(), WeftError> {
    /// To try a port costs a socket: beyond so many, only those are tried that a process waits on.
    const MANY: usize = 64;
    let open = |transport| {
        let list = || listener::open_ports(transport);
        (ports.len() > MANY).then(list).flatten()
    };
    let (tcp, udp) = (open(Transport::Tcp), open(Transport::Udp));
    for port in ports {
        let transport = match port.protocol {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            _ => continue,
        };
        let any = if port.address.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let open = if transport == Transport::Tcp {
            &tcp
        } else {
            &udp
        };
        let may_be_taken = open
            .as_ref()
            .is_none_or(|open| open.contains(&port.host_port));
        let address = SocketAddr::new(port.host_ip.unwrap_or(any), port.host_port);
        if !may_be_taken || !listener::is_taken(transport, address) {
            continue;
        }
        // What listens at 127.0.0.53 is none of "every address of the host".
        if port.host_ip.is_none() && listener::is_taken_on_loopback_only(transport, address) {
            continue;
        }
        let holder = listener::holder(transport, address);
        let is_own = |command: &str| {
            let mut words = command.split_whitespace();
            words.any(|word| word == id.container_id.as_str())
        };
        match holder {
            Some(process) if is_own(&process.command) => {}
            Some(process) => {
                let command: String = process.command.chars().take(80).collect();
                return Err(taken(port, &format!("process {} ({command})", process.pid)));
            }
            None => return Err(taken(port, "a process of the host")),
        }
    }
    Ok(())
}

fn taken(port: &PortRecord, holder: &str) -> WeftError {
    WeftError::PortInUse {
        port: port.to_string(),
        holder: holder.to_owned(),
    }
}

/// Takes the ports back. Without a record there are none.
///
/// # Errors
/// Only what could not be removed.
pub(crate) fn del(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let recorded = recorded(host, request)?;
    let mut errors = Vec::new();
    let mut has_ports = false;
    for record in recorded
        .records
        .iter()
        .filter(|record| !record.ports().is_empty())
    {
        has_ports = true;
        let own = record.nft.iter().filter(|one| ruleset::is_published(one));
        let mut part = AttachmentRecord::new(record.id.clone(), "");
        part.nft = own.cloned().collect();
        let end = |host: &mut Host| match ends_with_interface(record) {
            true => Ok(()),
            false => connections::end_published(host, record.ports()),
        };
        errors.extend(take_back(host, &part, end, &take_out).err());
    }
    // What a DEL that was killed has left to be removed.
    if !has_ports && recorded.has_idle {
        errors.extend(idle::remove_found(host).err());
    }
    WeftError::collect("DEL", errors)
}

/// Compares what is published with the configuration, and the kernel with it.
///
/// # Errors
/// [`WeftError::Differs`] with every difference.
pub(crate) fn check(
    host: &mut Host,
    request: &Request,
    wanted: &Publishing,
) -> Result<(), WeftError> {
    let result = require_prev_result(request)?;
    let id = request.attachment_id()?;
    let mut found = Differences::default();
    let (record, standing_by) = host.store.read(|transaction| {
        let record = transaction.attachment(&id)?;
        let served = match &record {
            Some(record) => ports::served_by_others(transaction, record)?,
            None => BTreeSet::new(),
        };
        Ok::<_, StoreError>((record, served))
    })?;
    for object in record.iter().flat_map(|record| &record.shared) {
        if let SharedObject::RouteLocalnet { link } = object
            && !route_localnet::is_on(host, link)?
        {
            found.add(format!(
                "route_localnet of {link} is off: 127.0.0.1 leads nowhere"
            ));
        }
    }
    let published = record.as_ref().map_or(&[][..], AttachmentRecord::ports);
    let addresses = addresses(&result, id.ifname.as_str());
    let own = weft_node::names::owner(&id);
    for port in wanted
        .mappings
        .iter()
        .flat_map(|mapping| ports_of(mapping, &addresses))
    {
        if !published.contains(&port) {
            found.add(format!("port {port} is not published in Weft's store"));
        }
        let element = ruleset::port_element(&port);
        if standing_by.contains(&ports::key_of(&element)) {
            continue;
        }
        if !ruleset::element_is_right(host, &element, Some(&own))? {
            let (set, address) = (&element.set, port.address);
            found.add(format!(
                "nft map {set} does not lead port {port} to {address} port {}",
                port.container_port
            ));
        }
    }
    found.into_result(&id)
}
