//! The released versions of the specification, and what each of them knows.

use std::fmt;

use serde::{Serialize, Serializer};

/// A released version of the CNI specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpecVersion {
    /// The first one; also what a configuration without `cniVersion` means.
    V0_1_0,
    /// Adds VERSION.
    V0_2_0,
    /// Adds interfaces in results, and chaining.
    V0_3_0,
    /// The same as 0.3.0, with its typing error mended.
    V0_3_1,
    /// Adds CHECK, and `prevResult` on DEL.
    V0_4_0,
    /// Drops `ips[].version`.
    V1_0_0,
    /// Adds GC, STATUS, and MTU, socket, PCI and route attributes in results.
    V1_1_0,
}

impl SpecVersion {
    /// Every version Weft speaks, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest version.
    pub const NEWEST: Self = Self::V1_1_0;

    /// The version as configurations spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version that is spelled so; `None` for any other text. Versions are compared as
    /// literal strings, as the specification's `supportedVersions` are.
    pub fn from_literal(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
    }

    /// Results list interfaces (0.3.0 and later).
    pub fn has_interfaces(self) -> bool {
        self >= Self::V0_3_0
    }

    /// CHECK exists (0.4.0 and later).
    pub fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// GC and STATUS exist (1.1.0 and later).
    pub fn has_gc_and_status(self) -> bool {
        self >= Self::V1_1_0
    }

    /// All versions as one text, for messages.
    pub fn supported() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for SpecVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
