//! Closing a socket without waiting for it.
//!
//! The last close of an nf_tables socket that has deleted something waits for an RCU grace
//! period (about 12 ms), although the deletion took effect when it was acknowledged. A file that is
//! registered with an io_uring is let go by a worker of the kernel when the ring ends, and that one
//! may wait.
//!
//! Why it is so: docs/decisions/speed.md.

use std::os::fd::RawFd;

use io_uring::IoUring;

/// Hands a file to the kernel, to be closed there once no process has it open any more. Where there
/// is no io_uring, the close waits.
pub(crate) fn close_later(file: RawFd) {
    const FEWEST: u32 = 1;
    let outcome = IoUring::new(FEWEST).and_then(|ring| {
        ring.submitter().register_files(&[file])
        // The ring ends here, and lets the file go when its worker gets to it.
    });
    if let Err(error) = outcome {
        tracing::debug!(%error, "no io_uring: the end of the nf_tables socket is awaited");
    }
}
