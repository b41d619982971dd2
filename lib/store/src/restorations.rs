//! How often the kernel's elements were put back from the records.
//!
//! Who takes elements out of the kernel forgets their record afterwards. If they were put back in between,
//! the count has changed.

use crate::error::StoreError;
use crate::transaction::{Transaction, key, kind};

const COUNTER: &str = "restorations";

impl Transaction<'_> {
    /// How often so far.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn restorations(&self) -> Result<u64, StoreError> {
        let count = self.get(&key(kind::META, &[COUNTER], &[]))?;
        Ok(count.unwrap_or(0))
    }

    /// Counts one, done before the transaction began.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn count_restoration(&mut self) -> Result<(), StoreError> {
        self.count_up(COUNTER).map(drop)
    }
}
