//! Where the bytes are: an ordered map of byte strings, changed atomically.
//!
//! Why it is so: docs/decisions/store.md.

mod delta;
mod differential;
mod guarded;
mod redb;
mod sled;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use differential::Differential;
pub(crate) use differential::delta_of;
use guarded::Guarded;

/// Changes to make together; `None` deletes.
pub(crate) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
/// Sees entries in order; may stop.
pub(crate) type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An open database. The caller holds the store's lock.
pub(crate) trait Backend {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the entries with keys from `from` on, ascending.
    fn scan(&self, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), StoreError>;

    /// Makes all changes or none; they are readable by the next process when it returns.
    fn apply(&mut self, writes: &Writes) -> Result<(), StoreError>;
}

/// Whether a library's I/O error speaks of what is in the file: something that is no database at
/// all is reported as invalid or truncated data.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof
    )
}

/// Which database library.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// redb: one file, and a small one of changes that have yet to be made in it.
    #[default]
    Redb,
    /// sled 0.34: a directory; opening it costs several milliseconds.
    Sled,
}

impl Display for BackendKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redb => "redb",
            Self::Sled => "sled",
        })
    }
}

impl FromStr for BackendKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "redb" => Ok(Self::Redb),
            "sled" => Ok(Self::Sled),
            _ => Err(()),
        }
    }
}

impl BackendKind {
    /// The database's file or directory below the state directory.
    pub(crate) fn path(self, dir: &Path) -> PathBuf {
        match self {
            Self::Redb => dir.join("store.redb"),
            Self::Sled => dir.join("store.sled"),
        }
    }

    /// Opens the database. If there is none it is made, at the latest with its first entry.
    pub(crate) fn open(self, dir: &Path) -> Result<Box<dyn Backend>, StoreError> {
        let path = self.path(dir);
        Ok(match self {
            Self::Redb => Box::new(Differential::open(&path)?),
            Self::Sled => Box::new(Guarded::open(&path, sled::Sled::open)?),
        })
    }

    /// Opens one that exists without the changes beside it, if those cannot be read.
    pub(crate) fn open_without_changes(self, dir: &Path) -> Result<Box<dyn Backend>, StoreError> {
        let path = self.path(dir);
        Ok(Box::new(match self {
            Self::Redb => Guarded::open(&path, redb::Redb::open_to_read)?,
            Self::Sled => Guarded::open(&path, sled::Sled::open)?,
        }))
    }
}
