//! Exclusive file locks between processes, with a timeout that names the holder.
//!
//! Why it is so: docs/decisions/store.md.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use nix::libc;
use weft_cni::file;

use crate::error::StoreError;

/// Held shared while a bridge or another shared object is used, exclusive while one is removed.
pub const LINKS_LOCK: &str = "links";
/// Held shared while an attachment becomes a member of what policies say, exclusive while the
/// policies in force change.
pub const POLICY_LOCK: &str = "policy";

/// Held shared from the moment when elements are taken out of the kernel until no record names them
/// any more, exclusive while elements are put into the kernel from the records: so nothing is put
/// back that is about to have no record.
pub const RULESET_LOCK: &str = "ruleset";

/// How often a lock is asked for before it is waited for. It is held for some tens of microseconds,
/// less than making the thread that waits takes; yielding lets the holder finish.
const TRIES: u32 = 16;

/// A held flock(2). It goes with the value, and with the process.
#[derive(Debug)]
pub struct FileLock {
    _held: Flock<File>,
}

impl FileLock {
    /// Takes the lock of `path` (a file made if need be), waiting up to `timeout`.
    ///
    /// # Errors
    /// [`StoreError::LockTimeout`] with the holder, [`StoreError::Io`].
    pub fn exclusive(path: &Path, timeout: Duration) -> Result<Self, StoreError> {
        Self::take(
            path,
            timeout,
            FlockArg::LockExclusiveNonblock,
            FlockArg::LockExclusive,
        )
    }

    /// The same, shared with others that take it so.
    ///
    /// # Errors
    /// As [`Self::exclusive`].
    pub fn shared(path: &Path, timeout: Duration) -> Result<Self, StoreError> {
        Self::take(
            path,
            timeout,
            FlockArg::LockSharedNonblock,
            FlockArg::LockShared,
        )
    }

    /// Takes it alone if no process holds it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn if_free(path: &Path) -> Result<Option<Self>, StoreError> {
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Some(Self { _held: held })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(StoreError::Io {
                path: path.to_owned(),
                operation: "cannot be locked",
                source: errno.into(),
            }),
        }
    }

    fn take(
        path: &Path,
        timeout: Duration,
        at_once: FlockArg,
        waiting: FlockArg,
    ) -> Result<Self, StoreError> {
        let failed = |source: std::io::Error| StoreError::Io {
            path: path.to_owned(),
            operation: "cannot be locked",
            source,
        };
        let mut file = open(path)?;
        for _ in 0..TRIES {
            match Flock::lock(file, at_once) {
                Ok(held) => return Ok(Self { _held: held }),
                Err((same, Errno::EWOULDBLOCK)) => file = same,
                Err((_, errno)) => return Err(failed(errno.into())),
            }
            std::thread::yield_now();
        }
        wait(file, path, timeout, waiting)
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::Io {
        path: path.to_owned(),
        operation: "cannot be opened",
        source,
    };
    file::open_own(path, OpenOptions::new().create(true).write(true)).map_err(failed)
}

/// A held place of a file (fcntl_locking(2), of the open file description): as many locks as there are places, in one
/// file that stays empty.
#[derive(Debug)]
pub struct PlaceLock {
    _file: File,
}

impl PlaceLock {
    /// Takes the lock of a place, waiting up to `timeout`.
    ///
    /// # Errors
    /// [`StoreError::LockTimeout`], [`StoreError::Io`].
    pub fn take(path: &Path, place: u64, timeout: Duration) -> Result<Self, StoreError> {
        const PAUSES: [u64; 4] = [0, 1, 3, 10];
        let file = open(path)?;
        let wanted = libc::flock {
            l_type: i16::try_from(libc::F_WRLCK).unwrap_or_default(),
            l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
            // Places are not below zero.
            l_start: i64::try_from(place >> 1).unwrap_or_default(),
            l_len: 1,
            l_pid: 0,
        };
        let begin = Instant::now();
        let mut pauses = PAUSES.into_iter();
        let mut pause = 0;
        loop {
            match fcntl(&file, FcntlArg::F_OFD_SETLK(&wanted)) {
                Ok(_) => return Ok(Self { _file: file }),
                Err(Errno::EAGAIN | Errno::EACCES) if begin.elapsed() < timeout => {}
                // /proc/locks names no process that holds a lock of this kind.
                Err(Errno::EAGAIN | Errno::EACCES) => {
                    return Err(StoreError::LockTimeout {
                        path: path.to_owned(),
                        holder: "another ADD or DEL of the same container".to_owned(),
                        seconds: timeout.as_secs(),
                    });
                }
                Err(errno) => {
                    return Err(StoreError::Io {
                        path: path.to_owned(),
                        operation: "cannot be locked",
                        source: errno.into(),
                    });
                }
            }
            pause = pauses.next().unwrap_or(pause);
            std::thread::sleep(Duration::from_millis(pause));
        }
    }
}

/// flock(2) has no timeout: a thread waits for it, this one for the thread. If the time is up
/// first, the thread's late lock is dropped as soon as it is got.
fn wait(
    file: File,
    path: &Path,
    timeout: Duration,
    mode: FlockArg,
) -> Result<FileLock, StoreError> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = sender.send(Flock::lock(file, mode));
    });
    match receiver.recv_timeout(timeout) {
        Ok(Ok(held)) => Ok(FileLock { _held: held }),
        Ok(Err((_, errno))) => Err(StoreError::Io {
            path: path.to_owned(),
            operation: "cannot be locked",
            source: errno.into(),
        }),
        Err(_) => Err(timed_out(path, timeout)),
    }
}

/// A lock was waited for too long; the message names the holder.
pub(crate) fn timed_out(path: &Path, timeout: Duration) -> StoreError {
    let file = std::fs::metadata(path).ok();
    StoreError::LockTimeout {
        path: PathBuf::from(path),
        holder: file
            .and_then(|file| holder((file.dev(), file.ino())))
            .unwrap_or_else(|| "an unknown process".to_owned()),
        seconds: timeout.as_secs(),
    }
}

/// The process that holds a flock on the file, from proc_locks(5).
fn holder((dev, ino): (u64, u64)) -> Option<String> {
    let (major, minor) = (nix::sys::stat::major(dev), nix::sys::stat::minor(dev));
    let object = format!("{major:02x}:{minor:02x}:{ino}");
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let line = locks
        .lines()
        .find(|l| l.contains(&object) && !l.contains("->"))?;
    let pid = line.split_whitespace().nth(4)?;
    let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", command.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _held = FileLock::exclusive(&path, Duration::from_secs(1)).unwrap();
        let error = FileLock::exclusive(&path, Duration::from_millis(50)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("process {}", std::process::id())),
            "{error}"
        );
    }

    #[test]
    fn places_of_a_file_are_locked_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let take = |place| PlaceLock::take(&path, place, Duration::from_millis(20));
        let one = take(u64::MAX).unwrap();
        let _two = take(6).unwrap();
        assert!(matches!(
            take(u64::MAX),
            Err(StoreError::LockTimeout { .. })
        ));
        drop(one);
        take(u64::MAX).unwrap();
    }

    #[test]
    fn shared_locks_go_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _one = FileLock::shared(&path, Duration::from_secs(1)).unwrap();
        let _two = FileLock::shared(&path, Duration::from_secs(1)).unwrap();
        assert!(FileLock::exclusive(&path, Duration::from_millis(20)).is_err());
    }
}
