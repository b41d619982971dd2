//! Kinds of networks.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::error::VNetError;

/// What a network's containers are attached with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriverType {
    /// Ports of a bridge of the host.
    Bridge,
    /// A network of several hosts.
    Overlay,
    /// Interfaces with a MAC of their own on an interface of the host.
    Macvlan,
    /// Interfaces that share the MAC of an interface of the host.
    Ipvlan,
    /// The host's own network, or an interface of the host.
    Host,
    /// A plugin of another suite, by its type. Such networks are listed, not made.
    Other(String),
}

impl DriverType {
    /// Those that networks can be made of, with Weft's plugin and those of other suites that do the same.
    const KNOWN: [(Self, &'static str, &'static [&'static str]); 5] = [
        (Self::Bridge, "weft-bridge", &["bridge"]),
        (Self::Overlay, "weft-overlay", &[]),
        (Self::Macvlan, "weft-macvlan", &["macvlan"]),
        (Self::Ipvlan, "weft-ipvlan", &["ipvlan"]),
        (Self::Host, "weft-host", &["host-device"]),
    ];

    /// By the `type` of a network's first plugin.
    pub fn of_plugin(plugin: &str) -> Self {
        let does =
            |(_, own, others): &&(Self, &str, &[&str])| *own == plugin || others.contains(&plugin);
        match Self::KNOWN.iter().find(does) {
            Some((driver, _, _)) => driver.clone(),
            None => Self::Other(plugin.to_owned()),
        }
    }

    /// The type of the plugin.
    pub fn plugin(&self) -> &str {
        let known = Self::KNOWN.iter().find(|(driver, _, _)| driver == self);
        match (known, self) {
            (Some((_, plugin, _)), _) => plugin,
            (None, Self::Other(plugin)) => plugin,
            (None, _) => "",
        }
    }

    /// Whether frames of its containers pass the host's firewall, so that they can be kept apart.
    pub fn can_isolate(&self) -> bool {
        match self {
            Self::Bridge | Self::Overlay => true,
            Self::Macvlan | Self::Ipvlan | Self::Host | Self::Other(_) => false,
        }
    }

    /// Whether it has subnets of its own, which containers anywhere else do not have.
    pub(crate) fn is_on_lan(&self) -> bool {
        match self {
            Self::Macvlan | Self::Ipvlan => true,
            Self::Bridge | Self::Overlay | Self::Host | Self::Other(_) => false,
        }
    }
}

impl fmt::Display for DriverType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Overlay => "overlay",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Host => "host",
            Self::Other(plugin) => plugin,
        })
    }
}

impl FromStr for DriverType {
    type Err = VNetError;

    fn from_str(text: &str) -> Result<Self, VNetError> {
        let known = Self::KNOWN.iter().map(|(driver, _, _)| driver);
        let mut found = known.filter(|driver| driver.to_string() == text);
        found.next().cloned().ok_or_else(|| VNetError::Invalid {
            what: format!("driver {text:?}"),
            why: "must be bridge, overlay, macvlan, ipvlan or host".to_owned(),
        })
    }
}

impl Serialize for DriverType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
