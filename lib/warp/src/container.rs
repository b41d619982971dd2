//! Containers as a runtime describes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::IpNetwork;
use weft_cni::Mac;

/// What tells of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Docker, by its API.
    Docker,
    /// Podman, by the same API.
    Podman,
    /// Weft's store: a container that weft-warp was called for.
    Cni,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Cni];

    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Cni => "cni",
        }
    }
}

/// Tells a container from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId {
    /// What tells of it.
    pub source: Source,
    /// The runtime's id.
    pub id: String,
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.id.get(..12).unwrap_or(&self.id);
        write!(f, "{}:{short}", self.source.as_str())
    }
}

/// A network namespace: its path, and what tells it from the one before at the same path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetnsPlace {
    /// Where it can be opened.
    pub path: PathBuf,
    /// The device of its file.
    pub dev: u64,
    /// The number of its file. The kernel gives it again when the namespace is gone.
    pub ino: u64,
}

/// A container in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses, with the prefix lengths of the network.
    pub addresses: Vec<IpNetwork>,
    /// The network's routers.
    pub gateways: Vec<IpAddr>,
    /// Its MAC there, where it is known and no other container will have it.
    pub mac: Option<Mac>,
    /// Targets and gateways may meet in it.
    pub is_meeting: bool,
    /// It reaches its neighbours by the network's router alone, and does not hear their questions for its MAC.
    pub is_alone: bool,
}

/// A container, running or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// What people call it.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The networks it is in, by name.
    pub networks: BTreeMap<String, Endpoint>,
    /// Its namespace while it runs.
    pub netns: Option<NetnsPlace>,
    /// It has no namespace of its own: the host's, or that of the container named here.
    pub borrows: Option<String>,
    /// Its ports that the host leads to: IPPROTO_* and port.
    pub published: BTreeSet<(u8, u16)>,
    /// The process number of its first process while it runs.
    pub pid: Option<i32>,
    /// It runs, as far as its runtime has said.
    pub is_running: bool,
    /// When it was started, since 1970.
    pub started_at: Option<Duration>,
}
