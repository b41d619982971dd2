//! The sled backend: one tree of bytes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weft_cni::file;

use super::{Backend, Visitor, Writes, is_damage};
use crate::error::StoreError;

/// sled's own lock is let go by background threads a moment after a database was dropped. Weft's
/// lock is held here, so a process that still has it is about to let go.
const LINGERING: Duration = Duration::from_secs(5);
const CACHE_BYTES: u64 = 1 << 20;

pub(super) struct Sled {
    database: sled::Db,
    path: PathBuf,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library may add errors")]
fn failed(path: &Path, error: &sled::Error) -> StoreError {
    let path = path.to_owned();
    let reason = error.to_string();
    match error {
        sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => {
            StoreError::Damaged { path, reason }
        }
        sled::Error::Io(io) if is_damage(io) => StoreError::Damaged { path, reason },
        _ => StoreError::Backend { path, reason },
    }
}

impl Sled {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        file::make_own_dir(path).map_err(|error| failed(path, &sled::Error::Io(error)))?;
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        let deadline = Instant::now() + LINGERING;
        loop {
            match config.open() {
                Ok(database) => {
                    return Ok(Self {
                        database,
                        path: path.to_owned(),
                    });
                }
                Err(error) if is_locked(&error) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(error) => return Err(failed(path, &error)),
            }
        }
    }
}

/// Only the text tells: the error's kind is "other".
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(io) if io.to_string().contains("could not acquire lock"))
}

impl Backend for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.database.get(key).map_err(|e| failed(&self.path, &e))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn scan(&self, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        for entry in self.database.range(from.to_vec()..) {
            let (key, value) = entry.map_err(|e| failed(&self.path, &e))?;
            if let ControlFlow::Break(()) = visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.database
            .apply_batch(batch)
            .map_err(|e| failed(&self.path, &e))?;
        // Without a flush a process that ends takes its last writes with it.
        self.database
            .flush()
            .map(drop)
            .map_err(|e| failed(&self.path, &e))
    }
}
