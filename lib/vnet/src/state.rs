//! What a network's configuration cannot hold: a file for each in the directory of what outlives a reboot.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use weft_cni::{NetworkName, file};

use crate::catalogue::NetworkFile;
use crate::create::LONGEST_NAME;
use crate::error::VNetError;

/// What Weft knows of a network that it has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkState {
    /// The name of the configuration that it belongs to: another one with the same network was not made by Weft.
    pub(crate) file: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created_at: SystemTime,
    pub(crate) updated_at: SystemTime,
}

/// As it is written; times in seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    file: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    created_at: u64,
    updated_at: u64,
}

/// 9999-12-31T23:59:59Z: later times cannot be written.
const LAST_SECOND: u64 = 253_402_300_799;

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

    /// What is known of the network of a configuration; none if Weft has not made that. Of a file that cannot be read
    /// nothing is known, and the network is one of others until it is removed: [`Self::damaged`] says so.
    pub(crate) fn of(&self, file: &NetworkFile) -> Option<NetworkState> {
        let state = self.read(&file.list.name).ok().flatten()?;
        (state.file == file.name()).then_some(state)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<NetworkState>, VNetError> {
        // Other programs' configurations may have names that are no file's.
        if NetworkName::try_from(name).is_err() || name.len() > LONGEST_NAME {
            return Ok(None);
        }
        let path = self.path(name);
        let bytes = match file::read_own(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(VNetError::file(&path, "read")(error)),
        };
        let stored: Stored = serde_json::from_slice(&bytes)
            .map_err(|error| VNetError::file(&path, "read")(error.into()))?;
        let time = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
        Ok(Some(NetworkState {
            file: stored.file,
            labels: stored.labels,
            created_at: time(stored.created_at),
            updated_at: time(stored.updated_at),
        }))
    }

    /// Files that cannot be read, and why.
    pub(crate) fn damaged(&self) -> Vec<VNetError> {
        let names = self.names().into_iter();
        names.filter_map(|name| self.read(&name).err()).collect()
    }

    pub(crate) fn write(&self, name: &str, state: &NetworkState) -> Result<(), VNetError> {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_secs()
        };
        let stored = Stored {
            file: state.file.clone(),
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

    /// Removes what calls that were killed have left, under the lock of networks.
    pub(crate) fn remove_left_over(&self) {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for entry in entries {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                // What cannot be removed is in no call's way.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let _ = std::fs::remove_dir(&self.dir);
    }

    /// The networks that there is something of.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let name = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let network = name.strip_suffix(".json")?;
            NetworkName::try_from(network).ok().map(String::from)
        };
        entries.filter_map(name).collect()
    }
}
