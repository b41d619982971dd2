//! A database library that panics on what it finds in a file is a damaged file, not a crash: DEL has
//! to go on without the store.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::{Backend, Visitor, Writes};
use crate::error::StoreError;

pub(super) struct Guarded {
    inner: Option<Box<dyn Backend>>,
    path: PathBuf,
}

fn guard<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(StoreError::Damaged {
            path: path.to_owned(),
            reason: words(&panic),
        })
    })
}

fn words(panic: &Box<dyn Any + Send>) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!(
        "the database library gave up: {}",
        text.unwrap_or("without a word")
    )
}

impl Guarded {
    pub(super) fn open<B: Backend + 'static>(
        path: &Path,
        open: impl FnOnce(&Path) -> Result<B, StoreError>,
    ) -> Result<Self, StoreError> {
        let inner: Box<dyn Backend> = Box::new(guard(path, || open(path))?);
        Ok(Self {
            inner: Some(inner),
            path: path.to_owned(),
        })
    }

    fn closed(&self) -> StoreError {
        StoreError::Backend {
            path: self.path.clone(),
            reason: "it is closed".to_owned(),
        }
    }
}

impl Backend for Guarded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let inner = self.inner.as_ref().ok_or_else(|| self.closed())?;
        guard(&self.path, || inner.get(key))
    }

    fn scan(&self, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let inner = self.inner.as_ref().ok_or_else(|| self.closed())?;
        guard(&self.path, || inner.scan(from, visit))
    }

    fn apply(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let closed = self.closed();
        let inner = self.inner.as_mut().ok_or(closed)?;
        guard(&self.path, || inner.apply(writes))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let inner = self.inner.take();
        // Closing writes too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(inner)));
    }
}
