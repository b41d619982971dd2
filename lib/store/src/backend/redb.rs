//! The redb backend: one table of bytes.

use std::cell::OnceCell;
use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    Builder, ConcurrencyMode, Database, ReadOnlyDatabase, ReadOnlyTable, ReadableDatabase,
    StorageError, TableDefinition, TableError,
};

use weft_cni::file;

use super::{Backend, Visitor, Writes, is_damage};
use crate::error::StoreError;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("weft");
/// The table, as one transaction sees it.
type Bytes = ReadOnlyTable<&'static [u8], &'static [u8]>;
/// A short-lived process touches a few pages.
const CACHE_BYTES: usize = 1 << 20;

/// A database that this process may change, or one that it only looks into: which saves the marks
/// of being open, to be written, synced and taken back.
enum Handle {
    Writable(Database),
    ReadOnly(ReadOnlyDatabase),
}

pub(super) struct Redb {
    /// The table as it was when it was first looked into: no other process changes it while the store's
    /// lock is held. Before the handle, which it has to go before.
    table: OnceCell<Option<Bytes>>,
    handle: Handle,
    path: PathBuf,
}

/// The library's error types differ by call; what matters is whether the file is at fault.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library may add errors")]
fn failed(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    let path = path.to_owned();
    let reason = error.to_string();
    match error {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => {
            StoreError::Damaged { path, reason }
        }
        redb::Error::Io(io) if is_damage(&io) => StoreError::Damaged { path, reason },
        _ => StoreError::Backend { path, reason },
    }
}

/// The library would wait for a FIFO, and follow a link. Only the superuser can put something else in the file's place
/// meanwhile: the directory is theirs.
fn require_regular(path: &Path) -> Result<(), redb::Error> {
    let options = &mut OpenOptions::new();
    let opened = file::open_own(path, options.read(true).write(true));
    opened.map(drop).map_err(redb::Error::Io)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

impl Redb {
    /// Makes one where nothing is.
    pub(super) fn create(path: &Path) -> Result<Self, StoreError> {
        let file = file::create_own(path).map_err(redb::Error::Io);
        let database =
            file.and_then(|file| Ok(builder().create_with_backend(FileBackend::new(file)?)?));
        let database = database.map_err(|error| failed(path, error))?;
        Ok(Self::new(Handle::Writable(database), path))
    }

    /// Opens one to change it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = require_regular(path).and_then(|()| Ok(builder().open(path)?));
        let database = database.map_err(|error| failed(path, error))?;
        Ok(Self::new(Handle::Writable(database), path))
    }

    /// After a crash only opening for writing puts the file right.
    pub(super) fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let mut builder = builder();
        // Else it loads which pages are free, as for writing.
        builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
        require_regular(path).map_err(|error| failed(path, error))?;
        match builder.open_read_only(path) {
            Ok(database) => Ok(Self::new(Handle::ReadOnly(database), path)),
            Err(_) => Self::open(path),
        }
    }

    fn new(handle: Handle, path: &Path) -> Self {
        Self {
            table: OnceCell::new(),
            handle,
            path: path.to_owned(),
        }
    }

    fn table(&self) -> Result<Option<&Bytes>, StoreError> {
        if self.table.get().is_none() {
            let _ = self.table.set(self.open_table()?);
        }
        Ok(self.table.get().and_then(Option::as_ref))
    }

    fn open_table(&self) -> Result<Option<Bytes>, StoreError> {
        let transaction = match &self.handle {
            Handle::Writable(database) => database.begin_read(),
            Handle::ReadOnly(database) => database.begin_read(),
        };
        match transaction.map_err(|e| self.failed(e))?.open_table(TABLE) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        failed(&self.path, error)
    }
}

impl Backend for Redb {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(table) = self.table()? else {
            return Ok(None);
        };
        let value = table.get(key).map_err(|e: StorageError| self.failed(e))?;
        Ok(value.map(|guard| guard.value().to_vec()))
    }

    fn scan(&self, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let Some(table) = self.table()? else {
            return Ok(());
        };
        let range = table
            .range(from..)
            .map_err(|e: StorageError| self.failed(e))?;
        for entry in range {
            let (key, value) = entry.map_err(|e: StorageError| self.failed(e))?;
            if let ControlFlow::Break(()) = visit(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, writes: &Writes) -> Result<(), StoreError> {
        self.table = OnceCell::new();
        let Handle::Writable(database) = &self.handle else {
            return Err(StoreError::Backend {
                path: self.path.clone(),
                reason: "it was opened to be read only".to_owned(),
            });
        };
        let transaction = database.begin_write().map_err(|e| self.failed(e))?;
        {
            let mut table = transaction.open_table(TABLE).map_err(|e| self.failed(e))?;
            for (key, value) in writes {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice()).map(drop),
                    None => table.remove(key.as_slice()).map(drop),
                }
                .map_err(|e: StorageError| self.failed(e))?;
            }
        }
        transaction.commit().map_err(|e| self.failed(e))
    }
}
