//! What hosts tell each other, as values.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_cni::Mac;

use crate::config::Mode;

/// A prefix that a host leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// In which overlay.
    pub vni: u32,
    /// The destination.
    pub prefix: IpNetwork,
    /// The host's address in the overlay.
    pub next_hop: IpAddr,
    /// Lower is better.
    pub metric: u32,
    /// In seconds, from when the host was last heard of; 0: as the receiver has it.
    pub lease_seconds: u32,
}

/// Tells a route from all others of its host.
pub type RouteKey = (u32, IpNetwork);

impl Route {
    /// Its key.
    pub const fn key(&self) -> RouteKey {
        (self.vni, self.prefix)
    }
}

/// What a host of Weft's tells of an overlay besides routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Which overlay.
    pub vni: u32,
    /// How the host has it.
    pub mode: Mode,
    /// Of its VXLAN device.
    pub mac: Option<Mac>,
    /// Its addresses in the overlay, one of a family, by which routes lead to it.
    pub gateways: Vec<IpAddr>,
    /// Addresses that its containers get, where all hosts share a subnet.
    pub ranges: Vec<IpNetwork>,
    /// Its containers there, so that nobody has to ask all hosts for their MACs.
    #[serde(default)]
    pub neighbours: Vec<Neighbour>,
}

/// A container of another host, on a segment of all hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// How new something is that a host of Weft's tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Another number at each start of the host's daemon.
    pub generation: u64,
    /// Grows with each change.
    pub sequence: u64,
}

/// All that a host has to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its id.
    pub node: String,
    /// None of n-netman's hosts.
    pub stamp: Option<Stamp>,
    /// Where it leads to.
    pub routes: Vec<Route>,
    /// Its overlays; empty of n-netman's hosts.
    pub ends: Vec<End>,
}

/// Something to be told to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Everything; it answers with everything of its own.
    Exchange,
    /// These are new, or have changed.
    Announce(Vec<Route>),
    /// These are gone.
    Withdraw(Vec<Route>),
}
