//! Descriptors that the runtime waits for.

use std::io::Result;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use tokio::io::unix::AsyncFd;

/// Something that owns its descriptor.
#[derive(Debug)]
pub(super) struct Readable<T>(pub(super) T);

impl<T: AsFd> AsRawFd for Readable<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Has the runtime wait for it.
///
/// # Errors
/// The kernel's.
pub(super) fn wait_for<T: AsFd>(inner: T) -> Result<AsyncFd<Readable<T>>> {
    #[expect(
        deprecated,
        reason = "the other way is unsafe for types that may close their descriptor: these own it"
    )]
    AsyncFd::new(Readable(inner))
}
