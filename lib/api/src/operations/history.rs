//! Reading the operations file.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use weft_cni::file;

use super::rotate::{operations_in, read_totals};
use super::{Files, Operation, Totals};

/// What the files still have.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The oldest first.
    pub operations: Vec<Operation>,
    /// Why some are missing.
    pub problem: Option<String>,
}

/// The operations that the files still have: some thousands.
pub fn history(state_dir: &Path) -> History {
    let files = Files::of(state_dir);
    let mut found = History::default();
    let rotated = files.all_rotated().into_values();
    for path in rotated.chain([files.current()]) {
        match file::read_own(&path) {
            Ok(text) => found.operations.extend(operations_in(&text)),
            // It has been renamed or removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => found.problem = Some(format!("{}: {error}", path.display())),
        }
    }
    found.operations.sort_by_key(|one| one.time);
    found
}

/// The sum of all operations, those that are still in the files included.
///
/// # Errors
/// The system's; `TimedOut` if another process does not come to an end writing the totals.
pub fn counters(state_dir: &Path) -> Result<Totals> {
    let files = Files::of(state_dir);
    if !state_dir.is_dir() {
        return Ok(Totals::default());
    }
    let _held = wait_for_totals(&files)?;
    let mut totals = read_totals(&files)?;
    // Opened before the others are listed: it is among them if it is renamed now.
    let current = match file::open_own(&files.current(), OpenOptions::new().read(true)) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
    let own = current.as_ref().map(identity).transpose()?;
    for (_, path) in files.all_rotated().range(totals.counted + 1..) {
        let file = file::open_own(path, OpenOptions::new().read(true))?;
        if Some(identity(&file)?) != own {
            add(&mut totals, file)?;
        }
    }
    if let Some(file) = current {
        add(&mut totals, file)?;
    }
    Ok(totals)
}

fn add(totals: &mut Totals, mut file: File) -> Result<()> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    // A line that is just being written counts the next time.
    let end = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    operations_in(text.get(..end).unwrap_or_default()).for_each(|one| totals.add(&one));
    Ok(())
}

/// Nothing is added to the totals while this is held.
fn wait_for_totals(files: &Files) -> Result<Flock<File>> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    const PAUSE: Duration = Duration::from_millis(2);
    let options = || {
        OpenOptions::new()
            .create(true)
            .write(true)
            .read(true)
            .clone()
    };
    let mut file = file::open_own(&files.lock(), &mut options())?;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(held) => return Ok(held),
            Err((same, _)) => file = same,
        }
        if Instant::now() >= deadline {
            let text = format!("{} is held by another process", files.lock().display());
            return Err(Error::new(ErrorKind::TimedOut, text));
        }
        std::thread::sleep(PAUSE);
    }
}
