//! The redb backend: one table of bytes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, StorageError,
    TableDefinition, TableError,
};

use super::{Backend, Visitor, Writes};
use crate::error::StoreError;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("weft");
/// A short-lived process touches a few pages.
const CACHE_BYTES: usize = 1 << 20;

pub(super) struct Redb {
    database: Database,
    path: PathBuf,
}

/// The library's error types differ by call; what matters is whether the file is at fault.
fn failed(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    let path = path.to_owned();
    let reason = error.to_string();
    match error {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => {
            StoreError::Damaged { path, reason }
        }
        // What is not a database at all is reported as invalid or truncated data.
        redb::Error::Io(io)
            if matches!(
                io.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::Damaged { path, reason }
        }
        _ => StoreError::Backend { path, reason },
    }
}

impl Redb {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|error: DatabaseError| failed(path, error))?;
        Ok(Self { database, path: path.to_owned() })
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        failed(&self.path, error)
    }
}

impl Backend for Redb {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let transaction = self.database.begin_read().map_err(|e| self.failed(e))?;
        let table = match transaction.open_table(TABLE) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let value = table.get(key).map_err(|e: StorageError| self.failed(e))?;
        Ok(value.map(|guard| guard.value().to_vec()))
    }

    fn scan(&self, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let transaction = self.database.begin_read().map_err(|e| self.failed(e))?;
        let table = match transaction.open_table(TABLE) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(self.failed(error)),
        };
        let range = table.range(from..).map_err(|e: StorageError| self.failed(e))?;
        for entry in range {
            let (key, value) = entry.map_err(|e: StorageError| self.failed(e))?;
            if let ControlFlow::Break(()) = visit(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write().map_err(|e| self.failed(e))?;
        // A process killed while the database is open must not make the next one scan it all.
        transaction.set_quick_repair(true);
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
