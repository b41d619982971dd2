//! How hosts speak with each other, and where it can be seen how they do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The table `[node]`: this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Tells it from other hosts, which name it so in their `[[peer]]`; the host's name by default.
    pub id: Option<String>,
    /// For people.
    pub hostname: Option<String>,
    /// For people.
    pub tags: Vec<String>,
    /// Everything of overlays is removed when the daemon stops.
    pub remove_overlays_at_stop: bool,
}

/// The table `[netplan]`: it is read, never written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Netplan {
    /// Directories and files of netplan's.
    pub config_paths: Vec<PathBuf>,
}

impl Default for Netplan {
    fn default() -> Self {
        Self {
            config_paths: vec![PathBuf::from("/etc/netplan")],
        }
    }
}

/// The table `[security]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Without it hosts do not speak with each other: what the file says is all.
    pub control_plane: Option<ControlPlane>,
}

/// The table `[security.control_plane]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlPlane {
    /// `grpc`, which is the only one.
    pub transport: Option<String>,
    /// Where other hosts come to.
    pub listen: Listen,
    /// Certificates of both sides.
    pub tls: Option<Tls>,
    /// Whoever reaches the port is believed, and can read everything.
    pub insecure: bool,
}

/// An address and a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Of this host.
    pub address: IpAddr,
    /// The same on all hosts.
    pub port: u16,
}

/// n-netman's.
pub(super) const CONTROL_PORT: u16 = 9898;

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: CONTROL_PORT,
        }
    }
}

/// Files in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// This host's certificate: its common name is the host's id, an alternative name its address.
    pub cert_file: PathBuf,
    /// The certificate's private key.
    pub key_file: PathBuf,
    /// Whoever has signed the certificates of all hosts.
    pub ca_file: PathBuf,
}

/// The table `[observability]`. Both are on when there is an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Observability {
    /// Figures for Prometheus, at `/metrics`.
    pub metrics: Observed,
    /// `/livez`, `/readyz`, `/healthz` and `/status`.
    pub healthcheck: Observed,
}

impl Default for Observability {
    fn default() -> Self {
        Self {
            metrics: Observed::at(9109),
            healthcheck: Observed::at(9110),
        }
    }
}

/// Something that answers HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// Whether it does.
    #[serde(default = "default_enabled")]
    pub enabled: bool,
    /// Where.
    pub listen: SocketAddr,
}

const fn default_enabled() -> bool {
    true
}

impl Observed {
    const fn at(port: u16) -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        }
    }
}
