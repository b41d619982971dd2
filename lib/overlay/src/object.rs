//! Kernel objects of overlays as values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_cni::Mac;

/// Tells an object from all others. In the order in which they are made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A bridge, by name.
    Bridge(String),
    /// A VXLAN device, by name.
    Vxlan(String),
    /// That a VXLAN device is a port of a bridge.
    Port(String),
    /// An address of a bridge.
    Address(String, IpNetwork),
    /// That frames to all, on a VXLAN device, go to another host.
    Flood(String, IpAddr),
    /// That frames to a MAC, on a VXLAN device, go to another host.
    Forward(String, Mac),
    /// That a bridge sends frames to a MAC by a VXLAN device.
    Behind(String, Mac),
    /// The MAC of a neighbour, set for good.
    Neighbour(String, IpAddr),
    /// A nexthop object on a VXLAN device, by its number.
    Nexthop(String, u32),
    /// A route by an interface.
    Route(String, RouteKey),
    /// A routing rule.
    Rule(RuleKey),
}

/// Tells a route by an interface from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// The routing table.
    pub table: u32,
    /// The destination.
    pub prefix: IpNetwork,
    /// Lower is better.
    pub metric: u32,
}

/// Tells a routing rule from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleKey {
    /// Lower comes first; the main table's is 32766.
    pub priority: u32,
    /// IPv4 or IPv6.
    pub is_ipv4: bool,
    /// Which packets.
    pub selector: Selector,
    /// The routing table that they are looked up in.
    pub table: u32,
}

/// Which packets a rule is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// Those that come in by an interface.
    Iif(String),
    /// Those of sockets that are bound to an interface.
    Oif(String),
    /// Those to a destination.
    To(IpNetwork),
}

/// What leads to a route's destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// An address on the interface.
    Gateway(IpAddr),
    /// A nexthop object.
    Nexthop(u32),
}

/// What it is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A bridge.
    Bridge {
        /// In bytes.
        mtu: u32,
        /// It is up.
        is_up: bool,
    },
    /// A VXLAN device.
    Vxlan {
        /// Its network.
        vni: u32,
        /// UDP port.
        port: u16,
        /// This host's endpoint.
        local: IpAddr,
        /// The interface that carries it, by name.
        underlay: String,
        /// It learns MACs.
        learning: bool,
        /// In bytes.
        mtu: u32,
        /// It is up.
        is_up: bool,
    },
    /// A port.
    Port {
        /// Of this bridge.
        bridge: String,
        /// Questions for MACs that the bridge can answer do not leave by it.
        suppresses: bool,
    },
    /// The other tunnel endpoint.
    To(IpAddr),
    /// The MAC.
    Mac(Mac),
    /// The address that it leads by.
    Gateway(IpAddr),
    /// What a route leads by.
    Via(Via),
    /// It has nothing more to be told.
    There,
}

/// Objects that are to be, or that are seen.
pub type Objects = BTreeMap<Key, Value>;

impl Key {
    /// The interface that it is or is on: it goes with that. Empty for a rule.
    pub fn link(&self) -> &str {
        match self {
            Self::Bridge(name)
            | Self::Vxlan(name)
            | Self::Port(name)
            | Self::Address(name, _)
            | Self::Flood(name, _)
            | Self::Forward(name, _)
            | Self::Behind(name, _)
            | Self::Neighbour(name, _)
            | Self::Nexthop(name, _)
            | Self::Route(name, _) => name,
            Self::Rule(_) => "",
        }
    }

    /// The routing table that it is about.
    pub fn table(&self) -> Option<u32> {
        if let Self::Rule(key) = self {
            return Some(key.table);
        }
        self.destination().map(|(table, _)| table)
    }

    /// Whether it is an interface itself.
    pub const fn is_link(&self) -> bool {
        matches!(self, Self::Bridge(_) | Self::Vxlan(_))
    }

    /// Of a route, the table and the destination.
    pub const fn destination(&self) -> Option<(u32, IpNetwork)> {
        match self {
            Self::Route(_, key) => Some((key.table, key.prefix)),
            Self::Bridge(_)
            | Self::Vxlan(_)
            | Self::Port(_)
            | Self::Address(..)
            | Self::Flood(..)
            | Self::Forward(..)
            | Self::Behind(..)
            | Self::Neighbour(..)
            | Self::Nexthop(..)
            | Self::Rule(_) => None,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bridge(name) => write!(f, "bridge {name}"),
            Self::Vxlan(name) => write!(f, "VXLAN device {name}"),
            Self::Port(name) => write!(f, "{name} as a port of its bridge"),
            Self::Address(name, address) => write!(f, "address {address} of {name}"),
            Self::Flood(name, remote) => write!(f, "{remote} as a receiver of {name}"),
            Self::Forward(name, mac) => write!(f, "the endpoint of {mac} of {name}"),
            Self::Behind(name, mac) => write!(f, "{mac} behind {name}"),
            Self::Neighbour(name, address) => write!(f, "neighbour {address} of {name}"),
            Self::Nexthop(name, id) => write!(f, "nexthop {id} of {name}"),
            Self::Route(name, RouteKey { table, prefix, .. }) => {
                write!(f, "route {prefix} by {name} in table {table}")
            }
            Self::Rule(key) => write!(f, "rule {key}"),
        }
    }
}

impl std::fmt::Display for RuleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.selector {
            Selector::Iif(name) => write!(f, "iif {name}")?,
            Selector::Oif(name) => write!(f, "oif {name}")?,
            Selector::To(prefix) => write!(f, "to {prefix}")?,
        }
        let family = if self.is_ipv4 { "IPv4" } else { "IPv6" };
        write!(f, " lookup {} ({family})", self.table)
    }
}

impl Value {
    /// Whether an object that is like this can be made like `wanted` in its place.
    pub fn can_become(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            // A device keeps all but its MTU.
            (
                Self::Vxlan {
                    vni,
                    port,
                    local,
                    underlay,
                    learning,
                    ..
                },
                Self::Vxlan {
                    vni: other_vni,
                    port: other_port,
                    local: other_local,
                    underlay: other_underlay,
                    learning: other_learning,
                    ..
                },
            ) => {
                (vni, port, local, underlay, learning)
                    == (
                        other_vni,
                        other_port,
                        other_local,
                        other_underlay,
                        other_learning,
                    )
            }
            _ => true,
        }
    }
}
