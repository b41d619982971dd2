//! What is noted of a namespace before anything is changed in it, so that it can be put back, whatever happens to the daemon.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use weft_warp::{ContainerId, NetnsPlace};

/// A namespace in which there may be something of Weft's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    #[serde(with = "identity")]
    pub(super) id: ContainerId,
    /// For people.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) dev: u64,
    pub(super) ino: u64,
    /// A gateway's parameters as they were: name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) forwarding: Vec<(String, String)>,
}

impl Record {
    pub(super) fn place(&self) -> NetnsPlace {
        NetnsPlace {
            path: self.path.clone(),
            dev: self.dev,
            ino: self.ino,
        }
    }
}

/// `docker/ID`.
mod identity {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use weft_warp::{ContainerId, Source};

    pub(super) fn serialize<S: Serializer>(
        id: &ContainerId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        format!("{}/{}", id.source.as_str(), id.id).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ContainerId, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = text.split_once('/').and_then(|(source, id)| {
            let source = Source::ALL.into_iter().find(|one| one.as_str() == source)?;
            let id = id.to_owned();
            Some(ContainerId { source, id })
        });
        found.ok_or_else(|| Error::custom("no container"))
    }
}

/// All of them: a file each.
#[derive(Debug, Clone)]
pub(super) struct Records {
    directory: PathBuf,
}

impl Records {
    pub(super) fn open(state_dir: &Path) -> Result<Self> {
        let directory = state_dir.join("warp");
        weft_cni::file::make_own_dir(&directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        Ok(Self { directory })
    }

    fn path(&self, place: &NetnsPlace) -> PathBuf {
        self.directory
            .join(format!("{}-{}.json", place.dev, place.ino))
    }

    /// What is noted of a namespace.
    pub(super) fn of(&self, place: &NetnsPlace) -> Option<Record> {
        let text = weft_cni::file::read_text(&self.path(place)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Notes it.
    pub(super) fn write(&self, record: &Record) -> Result<()> {
        let path = self.path(&record.place());
        let new = path.with_extension("new");
        let written = || -> std::io::Result<()> {
            use std::io::Write;
            let mut file = weft_cni::file::create_own(&new)?;
            file.write_all(serde_json::to_string(record)?.as_bytes())?;
            std::fs::rename(&new, &path)
        };
        written().with_context(|| format!("{} cannot be written", path.display()))
    }

    /// There is nothing of Weft's in it any more.
    pub(super) fn remove(&self, place: &NetnsPlace) {
        // One that is gone is gone.
        let _ = std::fs::remove_file(self.path(place));
    }

    /// Everything that is noted. What cannot be read is removed: it names nothing.
    pub(super) fn all(&self) -> Vec<Record> {
        let entries = std::fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let mut records = Vec::new();
        for path in entries.map(|entry| entry.path()) {
            let text = weft_cni::file::read_text(&path).unwrap_or_default();
            match serde_json::from_str(&text) {
                Ok(record) => records.push(record),
                Err(_) => drop(std::fs::remove_file(&path)),
            }
        }
        records
    }
}
