//! Appending a line.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use weft_cni::file;

use super::{Files, Operation, ROTATE_AT, rotate};

/// Where the file cannot be renamed it grows to this length, in bytes.
const LONGEST_FILE: u64 = 8 * ROTATE_AT;

/// Appends a line to the operations file of a directory of live state. It takes some microseconds; what the line is
/// about has been done by then, so the caller goes on if it fails.
///
/// # Errors
/// The system's: a directory that is missing or full.
pub fn append(state_dir: &Path, operation: &Operation) -> Result<()> {
    let files = Files::of(state_dir);
    let line = operation.to_line();
    let length = write(&files, &line)?;
    if length > ROTATE_AT {
        rotate::rotate(&files)?;
    }
    Ok(())
}

/// Writes into the file that has the name: the lock keeps it from being counted until the line is there. How long it is
/// then.
fn write(files: &Files, line: &[u8]) -> Result<u64> {
    /// The lock is held alone for some microseconds, and only when the file has just been renamed. A process that has
    /// been stopped meanwhile is not waited for: then the line may be missing in the totals.
    const ATTEMPTS: u32 = 100;
    const PAUSE: Duration = Duration::from_micros(200);
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let file = file::open_own(&files.current(), &mut options)?;
        let is_last = attempts == ATTEMPTS;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(mut held) if is_last || is_current(files, &held)? => {
                held.write_all(line)?;
                return Ok(held.metadata()?.size());
            }
            Ok(_) => {}
            Err((mut file, _)) if is_last => {
                file.write_all(line)?;
                return Ok(0);
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn is_current(files: &Files, file: &File) -> Result<bool> {
    let there = std::fs::symlink_metadata(files.current());
    let own = file.metadata()?;
    if own.size() > LONGEST_FILE {
        let text = "a process that has been stopped keeps the file from being renamed";
        return Err(Error::new(ErrorKind::FileTooLarge, text));
    }
    Ok(there.is_ok_and(|there| there.ino() == own.ino() && there.dev() == own.dev()))
}

#[cfg(test)]
mod tests {
    use super::super::{counters, history};
    use super::*;

    fn operation(number: u64) -> Operation {
        Operation {
            time: number,
            plugin: "weft-bridge".to_owned(),
            verb: "ADD".to_owned(),
            us: 1000,
            error: "x".repeat(400),
            code: 7,
            ..Operation::default()
        }
    }

    #[test]
    fn counters_equal_the_calls_after_ten_rotations() {
        const EACH: u64 = 500;
        let dir = tempfile::tempdir().unwrap();
        let (mut before, mut called) = (0, 0);
        while counters(dir.path()).unwrap().counted < 10 {
            called += 8 * EACH;
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for number in 0..EACH {
                            append(dir.path(), &operation(number)).unwrap();
                        }
                    });
                }
                for _ in 0..10 {
                    let now = counters(dir.path()).unwrap().count();
                    assert!(now >= before, "{now} after {before}");
                    before = now;
                }
            });
            assert_eq!(counters(dir.path()).unwrap().count(), called);
        }
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert!(names < 9, "{names} files");
        assert!(history(dir.path()).operations.len() > 2000);
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(append(&missing, &operation(1)).is_err());
        assert!(!missing.exists());
        let full = Path::new("/dev/full");
        assert!(append(full, &operation(1)).is_err());
    }

    #[test]
    fn a_process_stopped_in_between_costs_a_moment_only() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), &operation(1)).unwrap();
        let path = Files::of(dir.path()).current();
        let stopped = Flock::lock(File::open(path).unwrap(), FlockArg::LockExclusiveNonblock);
        let start = std::time::Instant::now();
        append(dir.path(), &operation(2)).unwrap();
        assert!(start.elapsed() < Duration::from_millis(500));
        drop(stopped);
        assert_eq!(counters(dir.path()).unwrap().count(), 2);
    }
}
