//! One look at the store: reads see the transaction's own writes, which are made all together.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::{Backend, Writes};
use crate::error::StoreError;

/// The kinds of entries; the first byte of every key.
pub(crate) mod kind {
    pub(crate) const ATTACHMENT: u8 = b'a';
    pub(crate) const CHANGE: u8 = b'c';
    pub(crate) const SEGMENT: u8 = b'g';
    pub(crate) const CONTAINER: u8 = b'k';
    pub(crate) const FREE: u8 = b'f';
    pub(crate) const GATEWAY: u8 = b'w';
    pub(crate) const IDLE: u8 = b'i';
    pub(crate) const LEASE: u8 = b'l';
    pub(crate) const META: u8 = b'm';
    pub(crate) const NETWORK: u8 = b'n';
    pub(crate) const PORT: u8 = b'o';
    pub(crate) const CURSOR: u8 = b'p';
    pub(crate) const RELEASED: u8 = b'r';
    pub(crate) const SHARED: u8 = b's';
}

/// A key: kind, then parts, each ended by a zero byte. Parts are names, which hold none, except
/// that the last part may be any bytes of one length.
pub(crate) fn key(kind: u8, names: &[&str], tail: &[u8]) -> Vec<u8> {
    let mut key = vec![kind];
    for name in names {
        key.extend(name.as_bytes());
        key.push(0);
    }
    key.extend(tail);
    key
}

fn epoch_key() -> Vec<u8> {
    key(kind::META, &["epoch"], &[])
}

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// Access to the store while its lock is held.
pub struct Transaction<'a> {
    base: Option<&'a dyn Backend>,
    path: &'a Path,
    pub(crate) writes: Writes,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl<'a> Transaction<'a> {
    /// `base` is none where there is no store yet: everything reads as absent.
    pub(crate) fn new(base: Option<&'a dyn Backend>, path: &'a Path) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            base,
            path,
            writes: Writes::new(),
            now,
        }
    }

    pub(crate) fn damaged(&self, reason: impl std::fmt::Display) -> StoreError {
        StoreError::Damaged {
            path: self.path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn get_bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match (self.writes.get(key), self.base) {
            (Some(written), _) => Ok(written.clone()),
            (None, Some(base)) => base.get(key),
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get_bytes(key)?
            .map(|bytes| self.decode(key, &bytes))
            .transpose()
    }

    pub(crate) fn decode<T: DeserializeOwned>(
        &self,
        key: &[u8],
        bytes: &[u8],
    ) -> Result<T, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| {
            self.damaged(format!("entry {:?}: {error}", String::from_utf8_lossy(key)))
        })
    }

    pub(crate) fn put_bytes(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key, Some(value));
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: Vec<u8>, value: &T) -> Result<(), StoreError> {
        let bytes = self.encode(value)?;
        self.put_bytes(key, bytes);
        Ok(())
    }

    /// A value as it is stored: equal ones are equal bytes.
    pub(crate) fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(value).map_err(|error| self.damaged(error))
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    /// Every entry whose key starts with `prefix`, in order.
    pub(crate) fn scan(&self, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
        self.scan_up_to(prefix, usize::MAX)
    }

    /// The first entry whose key starts with `prefix`.
    pub(crate) fn first(&self, prefix: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.scan_up_to(prefix, 1)?.into_iter().next())
    }

    fn scan_up_to(&self, prefix: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        let found = self.scan_while(prefix, limit, &|key| key.starts_with(prefix))?;
        Ok(found.into_iter().take(limit).collect())
    }

    /// The entries from a key on, while `is_within` says so of their keys. At least the first `limit`, if
    /// there are as many.
    pub(crate) fn scan_while(
        &self,
        from: &[u8],
        limit: usize,
        is_within: &dyn Fn(&[u8]) -> bool,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        let mut found = BTreeMap::new();
        if let Some(base) = self.base {
            base.scan(from, &mut |key, value| {
                if !is_within(key) || found.len() >= limit {
                    return ControlFlow::Break(());
                }
                if !self.writes.contains_key(key) {
                    found.insert(key.to_vec(), value.to_vec());
                }
                ControlFlow::Continue(())
            })?;
        }
        let written = self.writes.range(from.to_vec()..);
        for (key, value) in written.take_while(|(key, _)| is_within(key)) {
            if let Some(value) = value {
                found.insert(key.clone(), value.clone());
            }
        }
        Ok(found)
    }

    /// Gives the database a number that no other one has that was made in its place.
    pub(crate) fn begin_epoch(&mut self) -> Result<(), StoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        self.put(epoch_key(), &u64::try_from(now).unwrap_or(self.now))
    }

    /// That number; 0 where there is no database, and for one that an older Weft has made.
    pub(crate) fn epoch(&self) -> Result<u64, StoreError> {
        Ok(self.get(&epoch_key())?.unwrap_or(0))
    }

    /// The next number of a counter, from 1.
    pub(crate) fn count_up(&mut self, counter: &str) -> Result<u64, StoreError> {
        let key = key(kind::META, &[counter], &[]);
        let next = self.get::<u64>(&key)?.unwrap_or(0).saturating_add(1);
        self.put(key, &next)?;
        Ok(next)
    }
}
