//! Which packets to outside leave with an address of the host.
//!
//! Why it is so: docs/decisions/ruleset.md.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// How the source address of traffic to outside is rewritten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masquerade {
    /// Destinations that see the container's own address.
    pub exclude: Vec<IpNetwork>,
    /// Instead of the outgoing interface's address, this one (one per family at most).
    pub to: Vec<IpAddr>,
    /// IPv6 addresses are left alone.
    pub ipv4_only: bool,
}
