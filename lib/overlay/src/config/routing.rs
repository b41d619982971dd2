//! Which prefixes other hosts are told of, and which of theirs are taken.

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// Both ways.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// To other hosts.
    pub export: Export,
    /// From other hosts.
    pub import: Import,
}

/// What other hosts are told that this one leads to. With `mode = "routed"` the host's own subnets are among it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Export {
    /// These.
    pub networks: Vec<IpNetwork>,
    /// Lower is better.
    pub metric: u32,
    /// Every static route of the main table but a default route, and what the two below say.
    pub export_all: bool,
    /// Networks of this host's interfaces, but the overlay's and what carries it.
    pub include_connected: bool,
    /// Static routes of the host that netplan's files have.
    pub include_netplan_static: bool,
}

impl Default for Export {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            metric: 100,
            export_all: false,
            include_connected: false,
            include_netplan_static: false,
        }
    }
}

/// Which prefixes of other hosts are taken: those of `deny` are not, then all or those of `allow` are, others are not.
/// With `mode = "routed"` parts of `networks` are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Import {
    /// All but what is denied.
    pub accept_all: bool,
    /// These and parts of them.
    pub allow: Vec<IpNetwork>,
    /// Whatever overlaps with these is refused.
    pub deny: Vec<IpNetwork>,
    /// What becomes of those that are taken.
    pub install: Install,
}

/// How routes are installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Install {
    /// The routing table, 1 to 252 or from 256 on; 20000 and the VNI by default.
    pub table: Option<u32>,
    /// A route of somebody else to the same prefix in that table gives way.
    pub replace_existing: bool,
    /// Routes of a host that is taken for dead go at once.
    pub flush_on_peer_down: bool,
    /// In seconds: routes of a host that is not heard of any more go after this time.
    pub route_lease_seconds: u32,
    /// In seconds: as long as its containers can be reached they go after this time only.
    pub hold_seconds: u32,
    /// What makes the kernel look into the table.
    pub lookup_rules: LookupRules,
}

impl Default for Install {
    fn default() -> Self {
        Self {
            table: None,
            replace_existing: false,
            flush_on_peer_down: false,
            route_lease_seconds: 30,
            hold_seconds: 600,
            lookup_rules: LookupRules::default(),
        }
    }
}

/// Routing rules (ip-rule(8)) that lead to the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LookupRules {
    /// There are some.
    pub enabled: bool,
    /// Which.
    pub mode: LookupMode,
}

impl Default for LookupRules {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: LookupMode::Interface,
        }
    }
}

/// Which packets look into the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LookupMode {
    /// Those from the bridge, those of sockets that are bound to it, and those to the prefixes that are imported.
    #[default]
    Interface,
    /// Those to the prefixes that are imported.
    Prefix,
}
