//! Which interfaces of overlays Weft has made, and which of others it has put addresses on: noted before it does, so that
//! all of it can be removed whatever happens.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The file. It outlives the daemon, as the interfaces do.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    names: Names,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Names {
    made: BTreeSet<String>,
    used: BTreeSet<String>,
}

impl Record {
    /// Reads it.
    pub(super) fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("overlay.json");
        let names = match weft_cni::file::read_own(&path) {
            // Names are answered whatever is in it; what it said is named by weft overlay ls.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(
                    "{}: {error}: interfaces of overlays that are there are not known to be Weft's any more: remove them",
                    path.display()
                );
                Names::default()
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Names::default(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Ok(Self { path, names })
    }

    /// Interfaces that Weft has made.
    pub(super) const fn made(&self) -> &BTreeSet<String> {
        &self.names.made
    }

    /// Interfaces of others that it has put addresses on.
    pub(super) const fn used(&self) -> &BTreeSet<String> {
        &self.names.used
    }

    pub(super) fn note_made(&mut self, name: &str) -> Result<()> {
        self.change(|names| names.made.insert(name.to_owned()))
    }

    pub(super) fn note_used(&mut self, name: &str) -> Result<()> {
        self.change(|names| names.used.insert(name.to_owned()))
    }

    /// Nothing of Weft's is there any more.
    pub(super) fn forget(&mut self, name: &str) -> Result<()> {
        self.change(|names| names.made.remove(name) | names.used.remove(name))
    }

    fn change(&mut self, change: impl FnOnce(&mut Names) -> bool) -> Result<()> {
        let mut names = self.names.clone();
        if !change(&mut names) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&names)?;
        let by_way_of = self.path.with_extension("new");
        weft_cni::file::replace_own(&self.path, &by_way_of, &bytes, true)
            .with_context(|| format!("{} cannot be written", self.path.display()))?;
        self.names = names;
        Ok(())
    }
}
