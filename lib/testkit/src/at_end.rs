//! A flag that is set when a part of a test ends, also by a failure: what waits for it would wait for ever.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets the flag when it is dropped.
#[derive(Debug)]
pub struct AtEnd<'a>(pub &'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
