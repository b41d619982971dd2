//! Beginning a new file, and adding what the old one counts to the totals.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Result};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use weft_cni::file;

use super::{Files, Operation, ROTATE_AT, Totals};

/// Renamed files that stay as history.
const KEPT: usize = 3;
/// Renamed files that are not counted yet and stay all the same, where the totals cannot be written.
const MOST: usize = 12;

/// The totals as they are written.
///
/// # Errors
/// The system's. Totals that are not as they were written are put aside, and begin anew.
pub(super) fn read_totals(files: &Files) -> Result<Totals> {
    let path = files.totals();
    let bytes = match file::read_own(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Totals::default()),
        outcome => outcome?,
    };
    match serde_json::from_slice(&bytes) {
        Ok(totals) => Ok(totals),
        Err(_) => {
            std::fs::rename(&path, path.with_extension("totals.damaged"))?;
            Ok(Totals::default())
        }
    }
}

/// The operations of a file's lines.
pub(super) fn operations_in(text: &[u8]) -> impl DoubleEndedIterator<Item = Operation> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(|line| Operation::from_line(str::from_utf8(line).ok()?))
}

/// Renames the file, counts it, and removes old ones, unless another process does.
///
/// # Errors
/// The system's; nothing is counted twice then.
pub(super) fn rotate(files: &Files) -> Result<()> {
    let lock = file::open_own(
        &files.lock(),
        OpenOptions::new().create(true).write(true).read(true),
    )?;
    let Ok(_held) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else {
        return Ok(());
    };
    let current = files.current();
    match std::fs::symlink_metadata(&current) {
        Ok(meta) if meta.len() > ROTATE_AT => {}
        // Another call has just renamed it.
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let totals = read_totals(files)?;
    // The number of the last one that is counted, where its file has been removed.
    let last = files.all_rotated().into_keys().next_back().unwrap_or(0);
    std::fs::rename(&current, files.rotated(totals.counted.max(last) + 1))?;
    fold(files, totals)
}

fn fold(files: &Files, mut totals: Totals) -> Result<()> {
    let mut rotated = files.all_rotated();
    for (number, path) in rotated.range(totals.counted + 1..) {
        match is_complete(path).and_then(|is| Ok((is, file::read_own(path)?))) {
            Ok((true, text)) => operations_in(&text).for_each(|one| totals.add(&one)),
            Ok((false, _)) => break,
            // What is in its place keeps no other from being counted.
            Err(_) => {}
        }
        totals.counted = *number;
    }
    let text = serde_json::to_vec(&totals)?;
    let by_way_of = files.totals().with_extension("new");
    let written = file::replace_own(&files.totals(), &by_way_of, &text, false);
    let is_counted = |number: u64| written.is_ok() && number <= totals.counted;
    while let Some((number, path)) = rotated.pop_first()
        && rotated.len() >= if is_counted(number) { KEPT } else { MOST }
    {
        // One that cannot be removed keeps no other.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Whether every process that has begun to write into a renamed file has come to an end: any other one finds that the
/// file is no longer the current one. If not, it is counted when the next one is.
fn is_complete(path: &Path) -> Result<bool> {
    const ATTEMPTS: u32 = 100;
    const PAUSE: Duration = Duration::from_micros(200);
    let mut file = file::open_own(path, OpenOptions::new().read(true))?;
    for _ in 0..ATTEMPTS {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) => return Ok(true),
            Err((same, _)) => file = same,
        }
        std::thread::sleep(PAUSE);
    }
    Ok(false)
}
