//! What weft-dns records: names, and how the network's containers ask for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// By which names a container is found, and what it is told of others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamesRecord {
    /// Its names without a domain; the first one is what its addresses lead back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The network's own domain; without one its names are below that of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Addresses of the host at which the network's containers ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
    /// The container asks at an address of its own loopback, as there is no address of the host that it could reach.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks_inside: bool,
    /// The container's addresses, which on another suite's interface nothing else here says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// What is asked for other names; none: the host's own servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<IpAddr>,
    /// What is asked for the names of a domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<ForwardZone>,
    /// Names of no container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<StaticRecord>,
    /// Ports of the container that have the name of a service: SRV records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// What is said of the container: a TXT record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Other names are not asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_internal: bool,
}

/// A domain that has servers of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardZone {
    /// The domain.
    pub domain: String,
    /// What is asked for it and all below it.
    pub servers: Vec<IpAddr>,
}

/// A name of no container, with its data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticRecord {
    /// Below the network's domain; with a dot at its end, as it stands. `*` as the first label stands for every name
    /// that is not there.
    pub name: String,
    /// IPv4 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub a: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aaaa: Vec<Ipv6Addr>,
    /// Texts, of 255 bytes each at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub txt: Vec<String>,
    /// Places of a service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub srv: Vec<ServicePlace>,
}

/// Where a service is (RFC 2782).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePlace {
    /// On this machine; a name as in [`StaticRecord::name`].
    pub target: String,
    /// At this port.
    pub port: u16,
    /// Lower ones are tried first.
    #[serde(default)]
    pub priority: u16,
    /// A larger share among those of one priority.
    #[serde(default)]
    pub weight: u16,
}

/// A port of a container under the name of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Without underscore.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// In the container.
    pub port: u16,
}
