//! What the two parts tell each other of overlays, by a socket of their own.

use serde::{Deserialize, Serialize};
use weft_overlay::Overlays;
use weft_overlay::exchange::{Learned, Own};

/// What the root part tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Tell {
    /// What is to be said to other hosts, and how.
    Configure(Box<Configuration>),
    /// How the kernel is.
    Looked(Looked),
}

/// How to speak with other hosts, and of what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Configuration {
    /// This host's id.
    pub(crate) node: String,
    pub(crate) overlays: Overlays,
    pub(crate) own: Own,
    /// What is in force.
    pub(crate) remembered: Learned,
    /// Certificates; none if the file says that it is to be in clear.
    pub(crate) keys: Option<Keys>,
    /// Why there are none though there should be: nothing is said, and nobody is heard.
    pub(crate) keys_missing: Option<String>,
}

/// Certificates and a key, in PEM form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) authority: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is nobody's to read in a log.
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// What looking at the kernel, and putting it right, has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Looked {
    /// How often it was looked at, and how often something could not be put right.
    pub(crate) looks: u64,
    pub(crate) failures: u64,
    /// What was changed.
    pub(crate) steps: u64,
    /// Of those, what no event had told of.
    pub(crate) drift: u64,
    /// How long all looks took together, in seconds.
    pub(crate) seconds: f64,
    /// Seconds since 1970.
    pub(crate) last: f64,
    pub(crate) bridges: usize,
    pub(crate) devices: usize,
    pub(crate) forwards: usize,
    pub(crate) routes: usize,
}

/// What the part that answers has learnt of other hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heard {
    pub(crate) learned: Learned,
    /// What is wrong between the hosts.
    pub(crate) troubles: Vec<String>,
}
