//! From where connections to the containers of a network may begin.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How closed a network is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// From everywhere.
    #[default]
    None,
    /// Only whom a policy allows, containers of the same network included.
    Full,
    /// The containers of the same network.
    Peer,
    /// Those, and the containers of the networks it is connected with.
    Mesh,
    /// From everywhere but the containers of other networks that are closed.
    Apart,
}

impl Isolation {
    /// All that close a network.
    pub const CLOSED: [Self; 4] = [Self::Full, Self::Peer, Self::Mesh, Self::Apart];

    /// The word of configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Full => "full",
            Self::Peer => "peer",
            Self::Mesh => "mesh",
            Self::Apart => "same-bridge",
        }
    }

    /// Whether it is open.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Display for Isolation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The words of the key `isolation`.
impl FromStr for Isolation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::None, Self::Full, Self::Peer, Self::Mesh]
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or(())
    }
}
