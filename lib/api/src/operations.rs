//! The operations file: one line of JSON for each call, in the directory of live state.
//!
//! Lines are appended to `operations.jsonl`. Once that is longer than [`ROTATE_AT`] it is renamed to
//! `operations.N.jsonl`, and what it counts is added to the totals in `operations.totals`. The last files stay as
//! history. Counters are the totals and the lines of those files that are not in them yet, so they never fall.

mod append;
mod history;
mod rotate;
mod totals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use append::append;
pub use history::{History, counters, history};
pub use totals::{BUCKETS, Count, Key, PhaseTotal, Totals};

/// From this length on, in bytes, the file is renamed and a new one begun.
pub const ROTATE_AT: u64 = 1 << 20;
/// A line is one write of no more bytes than this.
const LONGEST_LINE: usize = 4096;
/// A name is cut to this length, in bytes: what a runtime says may be no name at all.
const LONGEST_WORD: usize = 256;
/// The message of an error is cut to this length, in bytes.
const LONGEST_ERROR: usize = 1024;

/// One call of a plugin, or one change by the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// When it began, in milliseconds since 1970. The first field of a line.
    pub time: u64,
    /// The plugin, or `weft` for the command line.
    pub plugin: String,
    /// `ADD`, `DEL`, `CHECK` or `GC`; of the command line `CREATE`, `UPDATE` or `REMOVE`.
    pub verb: String,
    /// The network, if the configuration says one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// The container's id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The interface's name in the container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ifname: String,
    /// How long it took, in microseconds.
    pub us: u64,
    /// The error's code; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u32,
    /// The error's message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Its parts in the order in which they ended, each with its time in microseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<(String, u64)>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it by reference"
)]
fn is_zero(code: &u32) -> bool {
    *code == 0
}

fn cut(text: &mut String, length: usize) {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

impl Operation {
    /// Milliseconds since 1970 as [`Operation::time`] has them.
    pub fn time_of(moment: SystemTime) -> u64 {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// When it began.
    pub fn began(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.time)
    }

    /// How long it took.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.us)
    }

    /// Whether it failed.
    pub fn has_failed(&self) -> bool {
        self.code != 0
    }

    /// The line, its end included. A message that makes it too long for one write is left out.
    fn to_line(&self) -> Vec<u8> {
        let mut short = self.clone();
        cut(&mut short.error, LONGEST_ERROR);
        let words = [&mut short.plugin, &mut short.verb, &mut short.network];
        let others = [&mut short.container, &mut short.ifname];
        for word in words.into_iter().chain(others) {
            cut(word, LONGEST_WORD);
        }
        let line = |operation: &Self| {
            let mut line = serde_json::to_vec(operation).unwrap_or_default();
            line.push(b'\n');
            line
        };
        let whole = line(&short);
        if whole.len() <= LONGEST_LINE {
            return whole;
        }
        short.error.clear();
        short.phases.clear();
        line(&short)
    }

    /// Reads a line. One that was cut short, because the disk was full, ends where the next one begins.
    fn from_line(line: &str) -> Option<Self> {
        let whole = serde_json::from_str(line).ok();
        let last = || line.rfind("{\"time\":").and_then(|at| line.get(at..));
        match whole {
            Some(operation) => Some(operation),
            None => serde_json::from_str(last()?).ok(),
        }
    }
}

/// The files of a directory of live state.
#[derive(Debug, Clone)]
struct Files {
    dir: PathBuf,
}

impl Files {
    fn of(state_dir: &Path) -> Self {
        Self {
            dir: state_dir.to_owned(),
        }
    }

    /// The one that lines are appended to.
    fn current(&self) -> PathBuf {
        self.dir.join("operations.jsonl")
    }

    fn rotated(&self, number: u64) -> PathBuf {
        self.dir.join(format!("operations.{number}.jsonl"))
    }

    fn totals(&self) -> PathBuf {
        self.dir.join("operations.totals")
    }

    /// Held by the process that writes the totals.
    fn lock(&self) -> PathBuf {
        self.dir.join("operations.lock")
    }

    /// Those that have been renamed, by their numbers.
    fn all_rotated(&self) -> BTreeMap<u64, PathBuf> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let number = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            let middle = name.strip_prefix("operations.")?.strip_suffix(".jsonl")?;
            middle.parse::<u64>().ok()
        };
        let named = entries.filter_map(|entry| {
            let path = entry.path();
            Some((number(&path)?, path))
        });
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_write_whatever_the_error_says() {
        let long = Operation {
            error: "\u{1}".repeat(9000),
            container: "ä".repeat(9000),
            network: "\\".repeat(9000),
            ifname: "x".repeat(90000),
            phases: (0..400).map(|n| (format!("phase{n}"), n)).collect(),
            ..Operation::default()
        };
        let line = long.to_line();
        assert!(line.len() <= LONGEST_LINE && line.ends_with(b"\n"));
        let text = String::from_utf8(line).unwrap();
        assert!(Operation::from_line(&text).is_some());
    }

    #[test]
    fn a_line_behind_one_that_was_cut_is_read() {
        let whole = Operation {
            time: 7,
            verb: "ADD".to_owned(),
            ..Operation::default()
        };
        let text = String::from_utf8(whole.to_line()).unwrap();
        let behind = format!("{{\"time\":5,\"plu{text}");
        assert_eq!(Operation::from_line(&behind), Some(whole));
        assert_eq!(Operation::from_line("{\"time\":5,\"plu"), None);
    }
}
