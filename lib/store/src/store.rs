//! Opening the store for one transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use weft_cni::{ContainerId, NetworkName, file};

use crate::backend::{Backend, BackendKind};
use crate::error::StoreError;
use crate::lock::{self, FileLock, PlaceLock};
use crate::transaction::{Transaction, key, kind};

/// Where the store is and how it is opened.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The directory, usually `/run/weft`.
    pub dir: PathBuf,
    /// The database library.
    pub backend: BackendKind,
    /// How long to wait for the lock.
    pub lock_timeout: Duration,
    /// The current boot, if it is known: state of another boot is dead.
    pub boot_id: Option<String>,
}

/// The store of a host.
#[derive(Debug, Clone)]
pub struct Store {
    config: StoreConfig,
}

impl Store {
    /// A store; nothing is opened yet.
    pub fn new(config: StoreConfig) -> Self {
        Self { config }
    }

    /// The store's directory.
    pub fn dir(&self) -> &Path {
        &self.config.dir
    }

    /// The database's path.
    pub fn path(&self) -> PathBuf {
        self.config.backend.path(&self.config.dir)
    }

    /// Its database library.
    pub fn backend(&self) -> BackendKind {
        self.config.backend
    }

    /// The database of another library that is in the same directory: attachments that were made before the host's
    /// library was changed are in it until they go.
    pub fn other(&self) -> Option<Self> {
        [BackendKind::Redb, BackendKind::Sled]
            .into_iter()
            .filter(|backend| *backend != self.config.backend)
            .map(|backend| {
                Self::new(StoreConfig {
                    backend,
                    ..self.config.clone()
                })
            })
            .find(|other| other.path().exists())
    }

    /// Whether there is a database.
    ///
    /// # Errors
    /// [`StoreError::Io`] where that cannot be told: a directory that may not be looked into is no empty store.
    pub fn exists(&self) -> Result<bool, StoreError> {
        let path = self.path();
        path.try_exists().map_err(|source| StoreError::Io {
            path,
            operation: "cannot be looked at",
            source,
        })
    }

    /// How long locks are waited for.
    pub fn lock_timeout(&self) -> Duration {
        self.config.lock_timeout
    }

    pub(crate) fn lock(&self) -> Result<FileLock, StoreError> {
        FileLock::exclusive(&self.config.dir.join("lock"), self.config.lock_timeout)
    }

    /// A lock for something that only one process may do at a time, besides the store.
    ///
    /// flock(2) lets processes that share a lock pass one that waits to have it alone, for ever where they come
    /// and go. A process that has waited for a second closes the turnstile that all of them come through.
    ///
    /// # Errors
    /// [`StoreError::LockTimeout`], [`StoreError::Io`].
    pub fn named_lock(&self, name: &str, sharing: Sharing) -> Result<FileLock, StoreError> {
        const PATIENCE: Duration = Duration::from_secs(1);
        let timeout = self.config.lock_timeout;
        let path = self.lock_path(name)?;
        let turnstile = self.lock_path(&format!("{name}.turn"))?;
        let in_turn = |turn: Result<FileLock, StoreError>| match turn {
            // The one that stands in it only waits as well.
            Err(StoreError::LockTimeout { .. }) => Err(lock::timed_out(&path, timeout)),
            turn => turn,
        };
        match sharing {
            Sharing::Shared => {
                let _turn = in_turn(FileLock::shared(&turnstile, timeout))?;
                FileLock::shared(&path, timeout)
            }
            Sharing::Exclusive => match FileLock::exclusive(&path, timeout.min(PATIENCE)) {
                Err(StoreError::LockTimeout { .. }) if timeout > PATIENCE => {
                    let _turn = in_turn(FileLock::exclusive(&turnstile, timeout))?;
                    FileLock::exclusive(&path, timeout)
                }
                outcome => outcome,
            },
        }
    }

    /// The same, alone, for one whose holder may itself have to wait for the store, more than once: it is
    /// waited for so much longer.
    ///
    /// # Errors
    /// [`StoreError::LockTimeout`], [`StoreError::Io`].
    pub fn patient_lock(&self, name: &str) -> Result<FileLock, StoreError> {
        const WAITS: u32 = 4;
        let timeout = self.config.lock_timeout.saturating_mul(WAITS);
        FileLock::exclusive(&self.lock_path(name)?, timeout)
    }

    /// The same, alone, if no process holds it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn named_lock_if_free(&self, name: &str) -> Result<Option<FileLock>, StoreError> {
        FileLock::if_free(&self.lock_path(name)?)
    }

    /// Held by a call that adds or removes an attachment, alone for each container in a network: of two such calls the
    /// later one finds what the first has done. The holder may wait for an IPAM plugin of somebody else's.
    ///
    /// # Errors
    /// [`StoreError::LockTimeout`], [`StoreError::Io`].
    pub fn attachment_lock(
        &self,
        network: &NetworkName,
        container: &ContainerId,
    ) -> Result<PlaceLock, StoreError> {
        let mut hash = Sha256::new();
        hash.update(format!("{network}/{container}"));
        let place = hash.finalize().first_chunk().copied();
        let place = place.map_or(0, u64::from_be_bytes);
        PlaceLock::take(
            &self.lock_path("attachments")?,
            place,
            self.config.lock_timeout,
        )
    }

    fn lock_path(&self, name: &str) -> Result<PathBuf, StoreError> {
        self.make_dir()?;
        Ok(self.config.dir.join(format!("{name}.lock")))
    }

    pub(crate) fn make_dir(&self) -> Result<(), StoreError> {
        file::make_own_dir(&self.config.dir).map_err(|source| StoreError::Io {
            path: self.config.dir.clone(),
            operation: "cannot be made",
            source,
        })
    }

    /// Runs `work` in a transaction that is committed if it succeeds and forgotten if not.
    ///
    /// # Errors
    /// What `work` says, and the store's own.
    pub fn write<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.make_dir()?;
        let _lock = self.lock()?;
        self.write_locked(work)
    }

    pub(crate) fn write_locked<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut backend = self.config.backend.open(&self.config.dir)?;
        let path = self.path();
        self.forget_other_boots(backend.as_mut(), &path)?;
        let mut transaction = Transaction::new(Some(backend.as_ref()), &path);
        transaction.ensure_indexed()?;
        let result = work(&mut transaction)?;
        let writes = transaction.writes;
        if !writes.is_empty() {
            backend.apply(&writes)?;
        }
        // The database is closed before the lock goes: the next process opens it at once.
        drop(backend);
        Ok(result)
    }

    /// Runs `work` on the store as it is; its writes are forgotten. Where there is no store
    /// nothing is made, and everything reads as absent.
    ///
    /// # Errors
    /// What `work` says, and the store's own.
    pub fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.read_by(|| self.config.backend.open(&self.config.dir), work)
    }

    /// The same without the last changes, which a damaged file has: what some containers ago was so.
    ///
    /// # Errors
    /// What `work` says, and the store's own.
    pub fn read_without_changes<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let open = || self.config.backend.open_without_changes(&self.config.dir);
        self.read_by(open, work)
    }

    fn read_by<T, E: From<StoreError>>(
        &self,
        open: impl FnOnce() -> Result<Box<dyn Backend>, StoreError>,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = self.path();
        if !self.exists()? {
            return work(&mut Transaction::new(None, &path));
        }
        let _lock = self.lock()?;
        let backend = open()?;
        let result = match self.other_boot(backend.as_ref(), &path)? {
            true => work(&mut Transaction::new(None, &path)),
            false => work(&mut Transaction::new(Some(backend.as_ref()), &path)),
        };
        drop(backend);
        result
    }

    /// A store of the same kind in a directory of its own, below this one's.
    pub(crate) fn below(&self, name: &str) -> Self {
        let dir = self.config.dir.join(name);
        let config = self.config.clone();
        Self::new(StoreConfig { dir, ..config })
    }

    fn boot_key() -> Vec<u8> {
        key(kind::META, &["boot"], &[])
    }

    fn other_boot(&self, backend: &dyn Backend, path: &Path) -> Result<bool, StoreError> {
        let transaction = Transaction::new(Some(backend), path);
        let written: Option<String> = transaction.get(&Self::boot_key())?;
        Ok(match (&self.config.boot_id, written) {
            (Some(current), Some(written)) => *current != written,
            _ => false,
        })
    }

    /// No container of an earlier boot lives: its whole state goes at once. Reboots are the only
    /// thing that empties a store kept on a disk.
    fn forget_other_boots(&self, backend: &mut dyn Backend, path: &Path) -> Result<(), StoreError> {
        let Some(boot_id) = &self.config.boot_id else {
            return Ok(());
        };
        let mut transaction = Transaction::new(Some(&*backend), path);
        let written: Option<String> = transaction.get(&Self::boot_key())?;
        if written.as_ref() == Some(boot_id) {
            return Ok(());
        }
        for (key, _) in transaction.scan(&[])? {
            transaction.delete(key);
        }
        transaction.put(Self::boot_key(), boot_id)?;
        let writes = transaction.writes;
        backend.apply(&writes)
    }
}

/// How a [`Store::named_lock`] is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Alone.
    Exclusive,
    /// With others that hold it shared.
    Shared,
}
