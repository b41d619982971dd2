//! Notes of attachments of which nothing is left but what several DELs can end together.
//!
//! A DEL that has to wait for another one's deletion of links leaves a note, and the first DEL that comes to it
//! ends the work of all notes at once. A note is a file beside the database, one a process, so one
//! that is killed leaves it to the next.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use weft_cni::{AttachmentId, file};

use crate::error::StoreError;
use crate::record::AttachmentRecord;
use crate::store::Store;

/// No process waits so long: what cannot be read has been left by a crash.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);
/// In front of the name while it is written.
const UNWRITTEN: &str = ".";

/// An attachment in a note: its identity, and which of its ADDs is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Noted {
    /// Identity of the record that is to end.
    pub id: AttachmentId,
    created_at: u64,
    #[serde(default)]
    instance: u64,
}

impl Noted {
    fn of(record: &AttachmentRecord) -> Self {
        Self {
            id: record.id.clone(),
            created_at: record.created_at,
            instance: record.instance,
        }
    }

    /// Whether a record is of the ADD that was meant.
    pub fn is(&self, record: &AttachmentRecord) -> bool {
        *self == Self::of(record)
    }
}

/// A note, until it is served.
#[derive(Debug)]
pub struct LeavingNote {
    path: PathBuf,
}

impl LeavingNote {
    /// Whether what it asks for is done.
    pub fn is_served(&self) -> bool {
        matches!(self.path.try_exists(), Ok(false))
    }

    /// Takes it away.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self) -> Result<(), StoreError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed(&self.path, "cannot be removed", error))
            }
            _ => Ok(()),
        }
    }

    /// The attachments in it; none in one that is being written, or is of another version of Weft.
    fn read(&self) -> Option<Vec<Noted>> {
        let is_written = !self.path.file_name()?.to_str()?.starts_with(UNWRITTEN);
        let records = is_written
            .then(|| serde_json::from_slice(&file::read_own(&self.path).ok()?).ok())
            .flatten();
        let age = || {
            fs::metadata(&self.path)
                .ok()?
                .modified()
                .ok()?
                .elapsed()
                .ok()
        };
        if records.is_none() && age().is_some_and(|age| age > LEFT_BEHIND) {
            let _ = self.remove();
        }
        records
    }
}

fn failed(path: &Path, operation: &'static str, source: std::io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        operation,
        source,
    }
}

impl Store {
    fn leaving_dir(&self) -> PathBuf {
        let mut path = self.path().into_os_string();
        path.push(".leaving");
        path.into()
    }

    /// Notes that attachments wait for their end.
    ///
    /// # Errors
    /// [`StoreError::Io`]; there is no note then.
    pub fn note_leaving(&self, records: &[&AttachmentRecord]) -> Result<LeavingNote, StoreError> {
        let dir = self.leaving_dir();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let name = format!(
            "{}-{}",
            std::process::id(),
            now.unwrap_or_default().as_nanos()
        );
        let unwritten = dir.join(format!("{UNWRITTEN}{name}"));
        let path = dir.join(name);
        let write = || -> std::io::Result<()> {
            let noted: Vec<Noted> = records.iter().map(|record| Noted::of(record)).collect();
            let bytes = serde_json::to_vec(&noted)?;
            match file::replace_own(&path, &unwritten, &bytes, false) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    file::make_own_dir(&dir)?;
                    file::replace_own(&path, &unwritten, &bytes, false)
                }
                outcome => outcome,
            }
        };
        match write() {
            Ok(()) => Ok(LeavingNote { path }),
            Err(error) => Err(failed(&path, "cannot be written", error)),
        }
    }

    /// Whether anything is noted.
    pub fn has_leaving(&self) -> bool {
        fs::read_dir(self.leaving_dir()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// What is noted.
    pub fn leaving(&self) -> Vec<(LeavingNote, Vec<Noted>)> {
        let entries = fs::read_dir(self.leaving_dir());
        entries
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let note = LeavingNote { path };
                let records = note.read()?;
                Some((note, records))
            })
            .collect()
    }
}
