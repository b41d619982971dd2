//! Which interfaces of overlays Weft has made: noted before they are, so that they can be removed whatever happens.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The file of names. It outlives the daemon, as the interfaces do.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    names: BTreeSet<String>,
}

impl Record {
    /// Reads it.
    pub(super) fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("overlay.json");
        let names = match weft_cni::file::read_own(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{}: remove it, and the interfaces of overlays",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Ok(Self { path, names })
    }

    pub(super) const fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    pub(super) fn note(&mut self, name: &str) -> Result<()> {
        match self.names.insert(name.to_owned()) {
            true => self.write(),
            false => Ok(()),
        }
    }

    pub(super) fn forget(&mut self, name: &str) -> Result<()> {
        match self.names.remove(name) {
            true => self.write(),
            false => Ok(()),
        }
    }

    fn write(&self) -> Result<()> {
        let bytes = serde_json::to_vec(&self.names)?;
        let by_way_of = self.path.with_extension("new");
        weft_cni::file::replace_own(&self.path, &by_way_of, &bytes, true)
            .with_context(|| format!("{} cannot be written", self.path.display()))
    }
}
