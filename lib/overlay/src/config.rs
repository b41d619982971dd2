//! The tables of weft.toml that are about other hosts: `[node]`, `[[overlay]]`, `[[peer]]`, `[security]` and
//! `[observability]`.

mod control;
mod problems;
mod routing;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

pub use control::{ControlPlane, Listen, Netplan, Node, Observability, Observed, Security, Tls};
pub use routing::{Export, Import, Install, LookupMode, LookupRules, Routing};

/// Overlays of a host, and the hosts that it shares them with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlays {
    /// This host.
    #[serde(default)]
    pub node: Node,
    /// Each a network of its own.
    #[serde(default)]
    pub overlay: Vec<Overlay>,
    /// Other hosts.
    #[serde(default)]
    pub peer: Vec<Peer>,
    /// How the hosts speak with each other.
    #[serde(default)]
    pub security: Security,
    /// Where it can be seen how they do.
    #[serde(default)]
    pub observability: Observability,
    /// Where the host's own routes are written.
    #[serde(default)]
    pub netplan: Netplan,
}

/// How packets find the host that has a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One Ethernet segment: the VXLAN device is a port of the bridge, frames to all go to every host.
    #[default]
    L2,
    /// Each host has a subnet of its own, and routes to the others': nothing is flooded.
    Routed,
}

impl Mode {
    /// Each host has a subnet of its own.
    pub const fn is_routed(self) -> bool {
        matches!(self, Self::Routed)
    }
}

/// One overlay: a bridge of this host, joined with those of the same VNI on other hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// VXLAN network identifier, 1 to 16777215: the same on all hosts.
    pub vni: u32,
    /// The VXLAN device; `vxlan` and the VNI by default.
    pub name: Option<String>,
    /// `l2` or `routed`.
    #[serde(default)]
    pub mode: Mode,
    /// UDP port of all hosts.
    #[serde(default = "default_port", alias = "dstport")]
    pub port: u16,
    /// Of bridge and device, in bytes; the underlay's less the headers by default.
    pub mtu: Option<u32>,
    /// The device notes from where MACs come; else frames to them go to every host.
    #[serde(default = "default_learning")]
    pub learning: bool,
    /// All hosts' addresses, with `mode = "routed"`: each host's subnet is a part of one.
    #[serde(default)]
    pub networks: Vec<IpNetwork>,
    /// What containers and virtual machines are plugged into.
    pub bridge: Bridge,
    /// What carries it.
    #[serde(default)]
    pub underlay: Underlay,
    /// Which prefixes other hosts are told of, and which of theirs are taken.
    #[serde(default)]
    pub routing: Routing,
    /// With `mode = "l2"`: addresses that containers of this host get, as parts of the bridge's subnets.
    #[serde(default)]
    pub containers: Vec<IpNetwork>,
}

/// An overlay's bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// 15 bytes at most. One that is there is used as it is.
    pub name: String,
    /// This host's address in the overlay, with the prefix length of the whole (`l2`) or of the host's subnet (`routed`).
    pub ipv4: Option<Ipv4Network>,
    /// The same for IPv6.
    pub ipv6: Option<Ipv6Network>,
    /// The same as the overlay's, which counts before it.
    pub mtu: Option<u32>,
}

/// Which address of the host other hosts send to. The address of the default route's interface by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Underlay {
    /// It itself.
    pub address: Option<IpAddr>,
    /// The first of these interfaces that is up and has an address.
    #[serde(default)]
    pub prefer_interfaces: Vec<String>,
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Tells it from the others.
    pub id: String,
    /// Its underlay address.
    pub address: IpAddr,
    /// Overlays that it takes part in; all by default.
    pub vnis: Option<BTreeSet<u32>>,
    /// It may announce these prefixes and parts of them alone; any that is imported by default.
    #[serde(default)]
    pub subnets: Vec<IpNetwork>,
    /// When it is asked whether it lives, and when it is given up.
    #[serde(default)]
    pub health: Health,
}

/// How the life of another host is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Milliseconds between two questions.
    pub keepalive_interval_ms: u32,
    /// Milliseconds without an answer after which it is taken for dead.
    pub dead_after_ms: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            keepalive_interval_ms: 1_500,
            dead_after_ms: 6_000,
        }
    }
}

impl Health {
    /// Between two questions.
    pub fn interval(self) -> Duration {
        Duration::from_millis(self.keepalive_interval_ms.into())
    }

    /// Without an answer.
    pub fn dead_after(self) -> Duration {
        Duration::from_millis(self.dead_after_ms.into())
    }
}

/// IANA's for VXLAN.
pub const PORT: u16 = 4789;
/// Each frame to all is sent once to each host.
pub const MOST_PEERS: usize = 250;
/// Every host speaks with every other one.
pub const MOST_SPEAKING_PEERS: usize = 128;

const fn default_port() -> u16 {
    PORT
}

const fn default_learning() -> bool {
    true
}

impl Overlay {
    /// The VXLAN device's name.
    pub fn device(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("vxlan{}", self.vni))
    }

    /// This host's addresses in the overlay.
    pub fn addresses(&self) -> Vec<IpNetwork> {
        let v4 = self.bridge.ipv4.map(IpNetwork::from);
        let v6 = self.bridge.ipv6.map(IpNetwork::from);
        v4.into_iter().chain(v6).collect()
    }

    /// The prefixes that those are in.
    pub fn subnets(&self) -> Vec<IpNetwork> {
        let network = |one: &IpNetwork| IpNetwork::new(one.network(), one.prefix()).ok();
        self.addresses().iter().filter_map(network).collect()
    }

    /// With `mode = "routed"`, the address that other hosts route by: the first of the host's subnet, which no container
    /// gets.
    pub fn gateways(&self) -> Vec<IpAddr> {
        match self.mode {
            Mode::L2 => self.addresses().iter().map(IpNetwork::ip).collect(),
            Mode::Routed => self.subnets().iter().map(IpNetwork::ip).collect(),
        }
    }

    /// Of bridge and device, in bytes, if it is said.
    pub fn wanted_mtu(&self) -> Option<u32> {
        self.mtu.or(self.bridge.mtu)
    }

    /// The routing table of its routes.
    pub fn table(&self) -> u32 {
        // Numbers below 256 are often taken by hand.
        const BASE: u32 = 20_000;
        let table = self.routing.import.install.table;
        table.unwrap_or_else(|| BASE.saturating_add(self.vni))
    }
}

impl Peer {
    /// Whether it takes part in an overlay.
    pub fn is_in(&self, vni: u32) -> bool {
        self.vnis.as_ref().is_none_or(|vnis| vnis.contains(&vni))
    }
}

impl Overlays {
    /// The overlay of a VNI.
    pub fn of(&self, vni: u32) -> Option<&Overlay> {
        self.overlay.iter().find(|one| one.vni == vni)
    }

    /// Whether hosts speak with each other: not if all that is known is what the file says.
    pub fn speaks(&self) -> bool {
        !self.overlay.is_empty() && self.security.control_plane.is_some()
    }
}
