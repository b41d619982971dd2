//! The change log: what happened, in order, for readers that want only what is new.
//!
//! A look by a reader that is up to date is one seek. [`Store::news_since`] holds the store's lock for that and for
//! copying bytes, and takes them apart afterwards; [`Store::records_since`] holds it until it has the records, too.
//!
//! Why it is so: docs/decisions/store.md.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};
use weft_cni::AttachmentId;

use crate::error::StoreError;
use crate::record::AttachmentRecord;
use crate::store::Store;
use crate::transaction::{Transaction, key, kind};

/// Older entries are dropped; a reader that fell behind reads everything afresh. A chain of four plugins writes four
/// entries for an ADD and as many for a DEL.
const KEPT: u64 = 8192;
const COUNTER: &str = "changes";

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "change")]
pub enum Change {
    /// An attachment was recorded, or its record has changed.
    Attached {
        /// The attachment whose record is new or different.
        id: AttachmentId,
    },
    /// An attachment's record was removed.
    Detached {
        /// The attachment whose record is gone.
        id: AttachmentId,
    },
    /// What is known of a network was recorded, or has changed.
    Network {
        /// The network whose record is new or different.
        name: String,
    },
    /// Nothing is known of a network any more.
    NetworkRemoved {
        /// The network whose record is gone.
        name: String,
    },
}

/// How far a reader has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Tells one database from another that was made in its place, whose numbers begin anew.
    pub epoch: u64,
    /// The number of the newest entry.
    pub sequence: u64,
}

/// What a reader of records finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// Where it is after reading.
    pub position: Position,
    /// The attachments that have come, changed or gone since, each with its record if it is there; none if entries are
    /// lost: then it reads everything.
    pub attachments: Option<BTreeMap<AttachmentId, Option<AttachmentRecord>>>,
    /// Something was recorded of a network.
    pub has_networks: bool,
}

/// What a reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Where it is after reading.
    pub position: Position,
    /// The entries since, oldest first; none if some of them are lost, because the reader fell behind or the database
    /// is another one: then it reads everything.
    pub changes: Option<Vec<Change>>,
}

fn entry_key(sequence: u64) -> Vec<u8> {
    key(kind::CHANGE, &[], &sequence.to_be_bytes())
}

/// Entries as they are stored.
type Stored = Option<Vec<Vec<u8>>>;

impl Transaction<'_> {
    pub(crate) fn log_change(&mut self, change: &Change) -> Result<(), StoreError> {
        let sequence = self.count_up(COUNTER)?;
        self.put(entry_key(sequence), change)?;
        if let Some(old) = sequence.checked_sub(KEPT) {
            self.delete(entry_key(old));
        }
        Ok(())
    }

    /// Where a reader is that has read everything in this transaction.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn position(&self) -> Result<Position, StoreError> {
        let newest = self.get(&key(kind::META, &[COUNTER], &[]))?;
        Ok(Position {
            epoch: self.epoch()?,
            sequence: newest.unwrap_or(0),
        })
    }

    /// The entries after a position as they are stored; none if some of them are lost.
    fn entries_after(&self, seen: Position) -> Result<(Position, Stored), StoreError> {
        let position = self.position()?;
        let missed = position.sequence.checked_sub(seen.sequence);
        let Some(missed) = missed.filter(|missed| *missed <= KEPT && seen.epoch == position.epoch)
        else {
            return Ok((position, None));
        };
        let from = entry_key(seen.sequence.saturating_add(1));
        let is_entry = |key: &[u8]| key.first() == Some(&kind::CHANGE);
        let found = self.scan_while(&from, usize::MAX, &is_entry)?;
        // Where not all are there, another process has removed them.
        let is_whole = u64::try_from(found.len()) == Ok(missed);
        Ok((position, is_whole.then(|| found.into_values().collect())))
    }
}

impl Store {
    /// What has happened since a reader looked last. Where there is no store there is nothing new.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn news_since(&self, seen: Position) -> Result<News, StoreError> {
        let (position, entries) = self.read(|transaction| transaction.entries_after(seen))?;
        let decode =
            |bytes: &Vec<u8>| serde_json::from_slice(bytes).map_err(|error| self.damaged(&error));
        let changes = entries.map(|entries| entries.iter().map(decode).collect());
        Ok(News {
            position,
            changes: changes.transpose()?,
        })
    }

    /// The records that have changed since a reader looked last, in one look: each as it is now.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn records_since(&self, seen: Position) -> Result<Records, StoreError> {
        self.read(|transaction| {
            let (position, entries) = transaction.entries_after(seen)?;
            let mut records = Records {
                position,
                attachments: entries.is_some().then(BTreeMap::new),
                has_networks: false,
            };
            for bytes in entries.iter().flatten() {
                let change = serde_json::from_slice(bytes).map_err(|error| self.damaged(&error))?;
                match (change, &mut records.attachments) {
                    (Change::Attached { id } | Change::Detached { id }, Some(found)) => {
                        if let Entry::Vacant(place) = found.entry(id) {
                            let record = transaction.attachment(place.key())?;
                            place.insert(record);
                        }
                    }
                    _ => records.has_networks = true,
                }
            }
            Ok(records)
        })
    }

    fn damaged(&self, error: &serde_json::Error) -> StoreError {
        StoreError::Damaged {
            path: self.path(),
            reason: format!("an entry of the change log: {error}"),
        }
    }
}
