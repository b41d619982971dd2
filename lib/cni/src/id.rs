//! The names that identify an attachment, each valid by construction.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a name was refused: the rule it breaks, ready to be put behind "must".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} {rule}")]
pub struct InvalidName {
    /// The text that was given.
    pub value: String,
    /// What a valid one looks like.
    pub rule: &'static str,
}

const TOKEN_RULE: &str =
    "must start with a letter or digit and hold only letters, digits, '_', '.' and '-'";
const IFNAME_RULE: &str =
    "must be 1 to 15 bytes, not '.' or '..', without '/', ':', '%' and white space";

fn is_token(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_ifname(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && !text
            .chars()
            .any(|c| matches!(c, '/' | ':' | '%' | '\0') || c.is_whitespace())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $valid:path, $rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(value: &str) -> Result<Self, InvalidName> {
                if $valid(value) {
                    Ok(Self(value.to_owned()))
                } else {
                    Err(InvalidName { value: value.to_owned(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(value: String) -> Result<Self, InvalidName> {
                Self::try_from(value.as_str())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// `CNI_CONTAINERID`: chosen by the runtime, unique among its containers.
    ContainerId,
    is_token,
    TOKEN_RULE
);
name_type!(
    /// `name` of a network configuration: unique among the networks of a host.
    NetworkName,
    is_token,
    TOKEN_RULE
);
name_type!(
    /// A network interface's name, as the kernel's `dev_valid_name` allows it.
    IfName,
    is_ifname,
    IFNAME_RULE
);

/// What identifies one attachment, and so everything that Weft makes for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentId {
    /// The configuration's `name`.
    pub network: NetworkName,
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// The interface inside the container.
    pub ifname: IfName,
}

impl AttachmentId {
    /// A digest of the three names. Host-side names and addresses derive from it, so that they
    /// are known before anything is made and can be found again when nothing else is left.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [
            self.network.as_str(),
            self.container_id.as_str(),
            self.ifname.as_str(),
        ] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hash.finalize().into()
    }

    /// The first `digits` hexadecimal digits of [`Self::digest`] (64 at most).
    pub fn short_hash(&self, digits: usize) -> String {
        let mut text: String = self.digest().iter().map(|b| format!("{b:02x}")).collect();
        text.truncate(digits);
        text
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container_id, self.ifname)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_follow_the_specification() {
        for good in ["a", "0", "cnitool-77383ca0a0715733ca6f", "A_b.c-d"] {
            assert!(ContainerId::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a/b", "a b", "ä", "a\n"] {
            assert!(ContainerId::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names_follow_the_kernel() {
        for good in ["eth0", "a", "fifteen-bytes-x", "eth0.100"] {
            assert!(IfName::try_from(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "sixteen-bytes-xx",
            "a\tb",
        ] {
            assert!(IfName::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_digest_keeps_the_three_names_apart() {
        let id = |n: &str, c: &str, i: &str| AttachmentId {
            network: n.try_into().unwrap(),
            container_id: c.try_into().unwrap(),
            ifname: i.try_into().unwrap(),
        };
        assert_ne!(id("ab", "c", "e").digest(), id("a", "bc", "e").digest());
        assert_eq!(id("n", "c", "e").short_hash(11).len(), 11);
    }
}
