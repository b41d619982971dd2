//! Kernel objects of overlays as values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

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
    },
    /// It has nothing more to be told.
    There,
}

/// Objects that are to be, or that are seen.
pub type Objects = BTreeMap<Key, Value>;

impl Key {
    /// The interface that it is or is on: it goes with that.
    pub fn link(&self) -> &str {
        match self {
            Self::Bridge(name)
            | Self::Vxlan(name)
            | Self::Port(name)
            | Self::Address(name, _)
            | Self::Flood(name, _) => name,
        }
    }

    /// Whether it is an interface itself.
    pub const fn is_link(&self) -> bool {
        matches!(self, Self::Bridge(_) | Self::Vxlan(_))
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
        }
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
