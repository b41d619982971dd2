//! Published ports that a process of the host has too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weft_kernel::listener::{self, Transport};
use weft_store::{AttachmentRecord, PortRecord};

use super::{Finding, Symptom};

/// Connections from outside go to the container, those that the process waits for do not come.
pub(super) fn findings(records: &[AttachmentRecord]) -> Vec<Finding> {
    let open = |transport| listener::open_ports(transport).unwrap_or_default();
    let (mut tcp, mut udp) = (None, None);
    let mut found = Vec::new();
    for record in records {
        for port in record.ports() {
            let (transport, open) = match port.protocol {
                6 => (
                    Transport::Tcp,
                    tcp.get_or_insert_with(|| open(Transport::Tcp)),
                ),
                17 => (
                    Transport::Udp,
                    udp.get_or_insert_with(|| open(Transport::Udp)),
                ),
                _ => continue,
            };
            if open.contains(&port.host_port) {
                found.extend(conflict(record, port, transport));
            }
        }
    }
    found
}

fn conflict(record: &AttachmentRecord, port: &PortRecord, transport: Transport) -> Option<Finding> {
    let any: IpAddr = match port.address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let address = SocketAddr::new(port.host_ip.unwrap_or(any), port.host_port);
    let is_elsewhere =
        port.host_ip.is_none() && listener::is_taken_on_loopback_only(transport, address);
    if is_elsewhere || !listener::is_taken(transport, address) {
        return None;
    }
    let holder = listener::holder(transport, address);
    // Podman's monitor holds the ports of its container, and has its id among its arguments.
    let is_own = |command: &str| {
        let mut words = command.split_whitespace();
        words.any(|word| word == record.id.container_id.as_str())
    };
    let holder = match holder {
        Some(holder) if is_own(&holder.command) => return None,
        Some(holder) => format!("process {} ({})", holder.pid, holder.command),
        None => "a process".to_owned(),
    };
    Some(Finding::new(
        Symptom::External,
        format!(
            "port {port} leads to {}, and {holder} listens on it too, which nothing from outside reaches: stop it, or \
             publish another port",
            record.id
        ),
    ))
}
