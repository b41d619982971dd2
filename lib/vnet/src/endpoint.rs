//! Endpoints as people see them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnetwork::IpNetwork;
use serde::Serialize;
use sha2::{Digest, Sha256};
use weft_cni::{AttachmentId, Mac};
use weft_store::AttachmentRecord;

use crate::network::{hex, id_of, rfc3339};

/// A container's interface in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// SHA-256 of network, container and interface, in hexadecimal digits.
    pub id: String,
    /// The container, by the id that its runtime has given.
    pub container_id: String,
    /// What the runtime calls it.
    pub name: Option<String>,
    /// [`crate::VirtualNetwork::id`].
    pub network_id: String,
    /// The network's name.
    pub network: String,
    /// The first address.
    pub ip_address: Option<IpAddr>,
    /// All of them, with the prefix lengths of their subnets.
    pub ip_addresses: Vec<IpNetwork>,
    /// Its MAC, if it has one of its own.
    pub mac_address: Option<Mac>,
    /// Its name in the container.
    pub interface_name: String,
    /// Its other end on the host, if it is one of a pair.
    pub host_interface: Option<String>,
    /// The container's network namespace.
    pub netns: Option<PathBuf>,
    /// Ports of the host that lead to it.
    pub ports: Vec<String>,
    /// For policies.
    pub labels: BTreeMap<String, String>,
    /// The plugin that made it.
    pub plugin: String,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub created_at: SystemTime,
}

/// Less is no beginning of an id.
const SHORTEST_ID: usize = 4;
/// What tables show of an id.
const SHORT_ID: usize = 12;

/// When a record was made, as exactly as it says: one of an earlier version has seconds only.
fn age(record: &AttachmentRecord) -> Duration {
    let exact = Duration::from_nanos(record.instance);
    match exact.as_secs() == record.created_at {
        true => exact,
        false => Duration::from_secs(record.created_at),
    }
}

impl Endpoint {
    /// How an endpoint can be meant, the most exact first.
    pub(crate) const WAYS: [fn(&Self, &str) -> bool; 5] = [
        |one, text| one.id == text || one.container_id == text,
        |one, text| one.name.as_deref() == Some(text),
        |one, text| {
            text.parse()
                .is_ok_and(|ip: IpAddr| one.ip_addresses.iter().any(|own| own.ip() == ip))
        },
        |one, text| text.len() >= SHORTEST_ID && one.id.starts_with(text),
        |one, text| text.len() >= SHORTEST_ID && one.container_id.starts_with(text),
    ];

    /// By its record. None for a lease of an IPAM plugin alone.
    pub(crate) fn of_record(record: &AttachmentRecord) -> Option<Self> {
        if record.plugin == "weft-ipam" {
            return None;
        }
        let addresses: Vec<IpNetwork> = record
            .addresses
            .iter()
            .map(weft_store::AddressRecord::in_subnet)
            .collect();
        Some(Self {
            id: Self::id_of(&record.id),
            container_id: record.id.container_id.to_string(),
            name: record.name.clone(),
            network_id: id_of(record.id.network.as_str()),
            network: record.id.network.to_string(),
            ip_address: addresses.first().map(IpNetwork::ip),
            ip_addresses: addresses,
            mac_address: record.link.own().and_then(|own| own.mac),
            interface_name: record.id.ifname.to_string(),
            host_interface: record.link.port().map(|port| port.name.clone()),
            netns: record.netns.as_ref().map(|one| PathBuf::from(&one.path)),
            ports: record
                .ports()
                .iter()
                .map(|port| format!("{port} -> {}", port.container_port))
                .collect(),
            labels: record.labels.clone(),
            plugin: record.plugin.clone(),
            created_at: UNIX_EPOCH + age(record),
        })
    }

    /// The id of an attachment.
    pub(crate) fn id_of(id: &AttachmentId) -> String {
        hex(&Sha256::digest(id.to_string().as_bytes()))
    }

    /// As much of the id as tables show.
    pub fn short_id(&self) -> &str {
        self.id.get(..SHORT_ID).unwrap_or(&self.id)
    }

    /// The container's name, else as much of its id as tables show.
    pub fn container(&self) -> &str {
        let short = || self.container_id.get(..SHORT_ID);
        self.name
            .as_deref()
            .or_else(short)
            .unwrap_or(&self.container_id)
    }
}
