//! The network namespace of an attachment.

use serde::{Deserialize, Serialize};

/// A container's network namespace, as it was at ADD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsRecord {
    /// `CNI_NETNS` of the ADD.
    pub path: String,
    /// The device number of the namespace file.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
    /// The kernel's own number of it, which is never given again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
}

impl NetnsRecord {
    /// Whether both are of one namespace, by whatever paths.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.dev, self.ino, self.cookie) == (other.dev, other.ino, other.cookie)
    }
}
