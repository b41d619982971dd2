//! Looking at the whole store: dump, consistency check, and moving a damaged one aside.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::backend::delta_of;
use crate::error::StoreError;
use crate::record::AttachmentRecord;
use crate::shared::{SharedObject, SharedState};
use crate::store::Store;
use crate::transaction::Transaction;

/// Everything in the store, for people and scripts.
#[derive(Debug, Clone, Serialize)]
pub struct Dump {
    /// All records, by identity.
    pub attachments: Vec<AttachmentRecord>,
    /// Leases: "pool address" to the holder.
    pub leases: BTreeMap<String, String>,
    /// Shared objects.
    pub shared: Vec<SharedState>,
}

/// Something in the store that does not fit the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, in words.
    pub text: String,
}

impl Transaction<'_> {
    /// Reads everything.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn dump(&self) -> Result<Dump, StoreError> {
        let leases = self.leases()?;
        let line = |(pool, address, lease): &(String, _, crate::leases::Lease)| {
            (format!("{pool} {address}"), lease.holder.to_string())
        };
        Ok(Dump {
            attachments: self.attachments()?,
            leases: leases.iter().map(line).collect(),
            shared: self.shared_objects()?,
        })
    }

    /// Compares leases and shares with the attachments they belong to.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn findings(&self) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        let records = self.attachments()?;
        for (pool, address, lease) in self.leases()? {
            let is_known = records.iter().any(|record| {
                record.id == lease.holder
                    && record.addresses.iter().any(|a| {
                        a.address.ip() == address && a.pool.as_deref() == Some(pool.as_str())
                    })
            });
            if !is_known {
                let holder = lease.holder;
                let text = format!(
                    "lease {address} of {pool} is held by {holder}, which has no record of it"
                );
                findings.push(Finding { text });
            }
        }
        for record in &records {
            for address in &record.addresses {
                let Some(pool) = &address.pool else { continue };
                let lease = self.lease_of(pool, address.address.ip())?;
                if lease.is_none_or(|lease| lease.holder != record.id) {
                    let text = format!(
                        "{} has address {} without a lease",
                        record.id, address.address
                    );
                    findings.push(Finding { text });
                }
            }
        }
        findings.extend(
            self.miscounted(&records)?
                .into_iter()
                .map(|text| Finding { text }),
        );
        Ok(findings)
    }

    fn miscounted(&self, records: &[AttachmentRecord]) -> Result<Vec<String>, StoreError> {
        let mut counted: BTreeMap<SharedObject, u64> = BTreeMap::new();
        for object in records.iter().flat_map(|record| &record.shared) {
            *counted.entry(object.clone()).or_default() += 1;
        }
        let mut wrong = Vec::new();
        for state in self.shared_objects()? {
            let users = counted.remove(&state.object).unwrap_or(0);
            if users != state.users {
                let text = format!(
                    "{:?} has {} users, {users} recorded",
                    state.object, state.users
                );
                wrong.push(text);
            }
        }
        for (object, users) in counted {
            let text = format!("{object:?} has {users} users and is not counted");
            wrong.push(text);
        }
        Ok(wrong)
    }
}

impl Store {
    /// Puts a new database with what `work` writes in the place of the present one, which gets another
    /// name. If that fails everything is as before. Returns where the old one is;
    /// `None` if there was none.
    ///
    /// # Errors
    /// What `work` says, [`StoreError::Io`], [`StoreError::LockTimeout`].
    pub fn replace<E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<(), E>,
    ) -> Result<Option<PathBuf>, E> {
        const NEW: &str = "new";
        let path = self.path();
        self.make_dir()?;
        let _lock = self.lock()?;
        let fresh = self.below(NEW);
        remove_dir(fresh.dir())?;
        fresh.make_dir()?;
        let filled = fresh.write_locked(work);
        if let Err(error) = filled {
            remove_dir(fresh.dir())?;
            return Err(error);
        }
        let aside = path.exists().then(|| free_name(&path));
        if let Some(aside) = &aside {
            put_aside(&path, aside, &fresh.path())?;
        }
        // From here on the new one is the store, and what lies beside the old one says nothing of it.
        match fs::rename(fresh.path(), &path) {
            // Nothing was written.
            Err(error) if error.kind() == ErrorKind::NotFound => remove_file(&path)?,
            outcome => outcome.map_err(|error| failed(&path, "cannot be replaced", error))?,
        }
        remove_file(&delta_of(&path))?;
        remove_dir(fresh.dir())?;
        Ok(aside)
    }
}

/// A name that neither a database put aside has, nor what lies beside one.
fn free_name(path: &Path) -> PathBuf {
    let names = (1u32..).map(|n| path.with_extension(format!("damaged-{n}")));
    let is_free = |name: &PathBuf| !name.exists() && !delta_of(name).exists();
    names
        .take(10_000)
        .find(is_free)
        .unwrap_or_else(|| path.with_extension("damaged"))
}

/// Gives a database and the changes beside it another name. A file keeps the old one too, so that there is
/// a store at any time, unless a directory is to replace it.
fn put_aside(path: &Path, aside: &Path, fresh: &Path) -> Result<(), StoreError> {
    if !path.is_file() || fresh.is_dir() {
        let renamed = fs::rename(path, aside);
        return renamed.map_err(|error| failed(path, "cannot be renamed", error));
    }
    let link = |from: &Path, to: &Path| match fs::hard_link(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(failed(from, "cannot be put aside", error))
        }
        _ => Ok(()),
    };
    link(path, aside)?;
    link(&delta_of(path), &delta_of(aside))
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(failed(path, "cannot be removed", error))
        }
        _ => Ok(()),
    }
}

fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(failed(path, "cannot be removed", error))
        }
        _ => Ok(()),
    }
}

fn failed(path: &Path, operation: &'static str, source: std::io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        operation,
        source,
    }
}
