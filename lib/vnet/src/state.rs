//! What a network's configuration cannot hold: a file for each in the directory of what outlives a reboot.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use weft_cni::file;

use crate::error::VNetError;

/// What Weft knows of a network that it has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkState {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created_at: SystemTime,
    pub(crate) updated_at: SystemTime,
}

/// As it is written; times in seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    created_at: u64,
    updated_at: u64,
}

/// The files.
#[derive(Debug, Clone)]
pub(crate) struct States {
    dir: PathBuf,
}

impl States {
    pub(crate) fn below(data_dir: &Path) -> Self {
        Self {
            dir: data_dir.join("networks"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    /// None if Weft has not made a network of this name. What cannot be read keeps nothing of the network but its labels.
    pub(crate) fn read(&self, name: &str) -> Result<Option<NetworkState>, VNetError> {
        let path = self.path(name);
        let bytes = match file::read_own(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(VNetError::file(&path, "read")(error)),
        };
        let stored: Stored = serde_json::from_slice(&bytes)
            .map_err(|error| VNetError::file(&path, "read")(error.into()))?;
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        Ok(Some(NetworkState {
            labels: stored.labels,
            created_at: time(stored.created_at),
            updated_at: time(stored.updated_at),
        }))
    }

    pub(crate) fn write(&self, name: &str, state: &NetworkState) -> Result<(), VNetError> {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_secs()
        };
        let stored = Stored {
            labels: state.labels.clone(),
            created_at: seconds(state.created_at),
            updated_at: seconds(state.updated_at),
        };
        let path = self.path(name);
        let write = || {
            file::make_own_dir(&self.dir)?;
            let by_way_of = self.dir.join(format!(".{name}.new"));
            file::replace_own(&path, &by_way_of, &serde_json::to_vec(&stored)?, true)
        };
        write().map_err(VNetError::file(&path, "written"))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), VNetError> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(VNetError::file(&path, "removed")(error))
            }
            _ => {
                // It is made anew for the next network, under the same lock; one that has more stays.
                let _ = std::fs::remove_dir(&self.dir);
                Ok(())
            }
        }
    }

    /// The networks that there is something of.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let name = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_suffix(".json")?.to_owned())
        };
        entries.filter_map(name).collect()
    }
}
