//! The change log: what happened, in order, for readers that want only what is new.

use serde::{Deserialize, Serialize};
use weft_cni::AttachmentId;

use crate::error::StoreError;
use crate::transaction::{Transaction, key, kind};

/// Older entries are dropped; a reader that fell behind reads everything afresh.
const KEPT: u64 = 1024;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "change")]
pub enum Change {
    /// An attachment was recorded.
    Attached {
        /// Which.
        id: AttachmentId,
    },
    /// An attachment's record was removed.
    Detached {
        /// Which.
        id: AttachmentId,
    },
}

impl Transaction<'_> {
    pub(crate) fn log_change(&mut self, change: &Change) -> Result<(), StoreError> {
        let sequence = self.count_up("changes")?;
        self.put(key(kind::CHANGE, &[], &sequence.to_be_bytes()), change)?;
        if let Some(old) = sequence.checked_sub(KEPT) {
            self.delete(key(kind::CHANGE, &[], &old.to_be_bytes()));
        }
        Ok(())
    }

    /// The changes after sequence number `after`, oldest first, with their numbers; `None` if
    /// some of them were dropped already.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn changes_after(&self, after: u64) -> Result<Option<Vec<(u64, Change)>>, StoreError> {
        let mut changes = Vec::new();
        for (key, value) in self.scan(&[kind::CHANGE])? {
            let sequence = key
                .get(1..)
                .and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
            let sequence = sequence.ok_or_else(|| self.damaged("a change without a number"))?;
            changes.push((sequence, self.decode(&key, &value)?));
        }
        let complete = changes
            .first()
            .is_none_or(|(first, _)| *first <= after.saturating_add(1));
        changes.retain(|(sequence, _)| *sequence > after);
        Ok(complete.then_some(changes))
    }
}
