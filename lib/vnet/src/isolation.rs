//! How closed networks are.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::error::VNetError;

/// From where connections to a network's containers may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IsolationMode {
    /// Only where a policy allows it.
    Full,
    /// From containers of the same network.
    PeerOnly,
    /// From those and from connected networks.
    MeshOnly,
    /// From everywhere.
    None,
}

impl IsolationMode {
    const ALL: [Self; 4] = [Self::Full, Self::PeerOnly, Self::MeshOnly, Self::None];

    /// The value of the key `isolation` of a network's configuration.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::PeerOnly => "peer",
            Self::MeshOnly => "mesh",
            Self::None => "none",
        }
    }
}

impl fmt::Display for IsolationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl FromStr for IsolationMode {
    type Err = VNetError;

    fn from_str(text: &str) -> Result<Self, VNetError> {
        let mut found = Self::ALL.into_iter().filter(|mode| mode.key() == text);
        found.next().ok_or_else(|| VNetError::Invalid {
            what: format!("isolation {text:?}"),
            why: "must be full, peer, mesh or none".to_owned(),
        })
    }
}

impl Serialize for IsolationMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
