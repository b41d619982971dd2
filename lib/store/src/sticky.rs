//! Sticky leases: which addresses a named workload had last. They outlive a reboot, and so are
//! files of their own, one a key, replaced by renaming; an ADD reads at most one.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weft_cni::file;

use crate::error::StoreError;

/// The directory of sticky leases, usually `/var/lib/weft/sticky`.
#[derive(Debug, Clone)]
pub struct StickyLeases {
    dir: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    pool: String,
    key: String,
    addresses: Vec<IpAddr>,
}

impl StickyLeases {
    /// Sticky leases below the data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            dir: data_dir.join("sticky"),
        }
    }

    fn file(&self, pool: &str, key: &str) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(pool.as_bytes());
        hash.update([0]);
        hash.update(key.as_bytes());
        let name: String = hash
            .finalize()
            .iter()
            .take(16)
            .map(|b| format!("{b:02x}"))
            .collect();
        self.dir.join(name)
    }

    /// The addresses that the key had last in the pool. A file that cannot be read is no reason
    /// to refuse an ADD: there is no preference then.
    pub fn addresses(&self, pool: &str, key: &str) -> Vec<IpAddr> {
        file::read_own(&self.file(pool, key))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok())
            .filter(|entry| entry.pool == pool && entry.key == key)
            .map(|entry| entry.addresses)
            .unwrap_or_default()
    }

    /// The addresses that any key had in the pool. After a reboot no other pod should get them while
    /// there are others.
    pub fn all_addresses(&self, pool: &str) -> Vec<IpAddr> {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| file::read_own(&entry.ok()?.path()).ok())
            .filter_map(|bytes| serde_json::from_slice::<Entry>(&bytes).ok())
            .filter(|entry| entry.pool == pool)
            .flat_map(|entry| entry.addresses)
            .collect()
    }

    /// Remembers them.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remember(&self, pool: &str, key: &str, addresses: &[IpAddr]) -> Result<(), StoreError> {
        let path = self.file(pool, key);
        if self.addresses(pool, key) == addresses {
            // Its age is that of its last use.
            let touched = file::open_own(&path, fs::OpenOptions::new().read(true))
                .and_then(|f| f.set_modified(SystemTime::now()));
            return touched.map_err(|source| StoreError::Io {
                path,
                operation: "cannot be touched",
                source,
            });
        }
        let entry = Entry {
            pool: pool.to_owned(),
            key: key.to_owned(),
            addresses: addresses.to_vec(),
        };
        let temporary = path.with_extension(format!("tmp{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            file::make_own_dir(&self.dir)?;
            file::replace_own(&path, &temporary, &serde_json::to_vec(&entry)?, true)
        };
        write().map_err(|source| StoreError::Io {
            path,
            operation: "cannot be written",
            source,
        })
    }

    /// Removes what was not used for `age`, and files that a crash left half-written.
    pub fn expire(&self, age: Duration) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        for entry in entries.flatten() {
            let changed = entry.metadata().and_then(|meta| meta.modified());
            let old = changed.is_ok_and(|at| {
                SystemTime::now()
                    .duration_since(at)
                    .is_ok_and(|since| since > age)
            });
            if old {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
