//! Notes of attachments of which nothing is left but what several DELs can end together.
//!
//! A DEL that has to wait for another one's deletion of links leaves a note, and whoever comes to it
//! first ends the work of all notes at once. A note is a file beside the database, so a process that is
//! killed leaves it to the next.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weft_cni::AttachmentId;

use crate::error::StoreError;
use crate::record::AttachmentRecord;
use crate::store::Store;

/// Nobody takes so long to write a note: one that cannot be read is what a crash has left.
const WRITTEN_BY_THEN: Duration = Duration::from_secs(60);

/// A note, until it is served.
#[derive(Debug)]
pub struct LeavingNote {
    path: PathBuf,
}

impl LeavingNote {
    /// Whether somebody has done what it asks for.
    pub fn is_served(&self) -> bool {
        !self.path.exists()
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

    /// The records in it; none in one that is being written.
    fn read(&self) -> Option<Vec<AttachmentRecord>> {
        let records = serde_json::from_slice(&fs::read(&self.path).ok()?).ok();
        let age = || {
            fs::metadata(&self.path)
                .ok()?
                .modified()
                .ok()?
                .elapsed()
                .ok()
        };
        if records.is_none() && age().is_some_and(|age| age > WRITTEN_BY_THEN) {
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

    fn leaving_note(&self, id: &AttachmentId) -> LeavingNote {
        LeavingNote {
            path: self.leaving_dir().join(id.short_hash(16)),
        }
    }

    /// Notes that attachments wait for their end.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn note_leaving(
        &self,
        records: &[&AttachmentRecord],
    ) -> Result<Option<LeavingNote>, StoreError> {
        let Some(first) = records.first() else {
            return Ok(None);
        };
        let note = self.leaving_note(&first.id);
        let dir = self.leaving_dir();
        let write = || -> std::io::Result<()> {
            let bytes = serde_json::to_vec(records)?;
            match fs::write(&note.path, &bytes) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    fs::create_dir_all(&dir)?;
                    fs::write(&note.path, &bytes)
                }
                outcome => outcome,
            }
        };
        write().map_err(|error| failed(&note.path, "cannot be written", error))?;
        Ok(Some(note))
    }

    /// What is noted.
    pub fn leaving(&self) -> Vec<(LeavingNote, Vec<AttachmentRecord>)> {
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

    /// Forgets the note of an attachment that has no record any more.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn forget_leaving(&self, id: &AttachmentId) -> Result<(), StoreError> {
        self.leaving_note(id).remove()
    }
}
