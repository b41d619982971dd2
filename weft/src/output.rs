//! Writing to the terminal. A reader that has gone away (`weft … | head`) is no error.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use serde::Serialize;

/// Whether something could not be written, other than for a reader that has gone away.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// Whether the reader has gone.
static HAS_NO_READER: AtomicBool = AtomicBool::new(false);

/// Whether anybody reads what is written.
pub(crate) fn is_read() -> bool {
    is_written() && !HAS_NO_READER.load(Ordering::Relaxed)
}

/// Whether everything has been written.
pub(crate) fn is_written() -> bool {
    !HAS_FAILED.load(Ordering::Relaxed)
}

fn note(outcome: std::io::Result<()>) {
    let Err(error) = outcome else {
        return;
    };
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        HAS_NO_READER.store(true, Ordering::Relaxed);
    } else {
        HAS_FAILED.store(true, Ordering::Relaxed);
        let _ = writeln!(std::io::stderr(), "weft: standard output: {error}");
    }
}

/// Writes a line to standard output.
pub(crate) fn line(text: &str) {
    note(writeln!(std::io::stdout(), "{text}"));
}

/// Writes a text that ends by itself.
pub(crate) fn text(text: &str) {
    note(std::io::stdout().write_all(text.as_bytes()));
}

/// Writes a line to standard error that is no failure.
pub(crate) fn warning(text: &str) {
    let _ = writeln!(std::io::stderr(), "weft: warning: {text}");
}

/// Writes an error and its causes to standard error, with what to do next if it is known.
pub(crate) fn failure(error: &anyhow::Error) {
    let mut stderr = std::io::stderr();
    let mut cni = error.downcast_ref::<weft_cni::CniError>();
    if let Some(weft_vnet::VNetError::Cni(within)) = error.downcast_ref() {
        cni = Some(within);
    }
    if let Some(cni) = cni {
        let _ = writeln!(stderr, "weft: {} (code {})", cni.msg, cni.code);
        if !cni.details.is_empty() {
            let _ = writeln!(stderr, "hint: {}", cni.details);
        }
    } else {
        let _ = writeln!(stderr, "weft: {error:#}");
    }
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Format {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The same by the word that docker and podman have for it
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<FormatName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    Table,
    Json,
}

impl Format {
    /// Prints JSON if that is wanted. Whether it is.
    pub(crate) fn prints_json(self, value: &impl Serialize) -> anyhow::Result<bool> {
        let is_json = self.json || self.format == Some(FormatName::Json);
        if is_json {
            line(&serde_json::to_string_pretty(value)?);
        }
        Ok(is_json)
    }
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Bad,
    Title,
}

/// Gives a text a colour, on a terminal that has any and unless NO_COLOR is set (<https://no-color.org/>).
pub(crate) fn coloured(text: &str, mood: Mood) -> String {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if !std::io::stdout().is_terminal() || is_set("NO_COLOR") || is_dumb {
        return text.to_owned();
    }
    let code = match mood {
        Mood::Good => 32,
        Mood::Bad => 31,
        Mood::Title => 1,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A cell of a table: what others have named is cut where it is endless, and cannot move a terminal's cursor.
fn plain(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut shown = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            // Nothing that a terminal would act upon.
            '"' | '\'' | '\\' => shown.push(one),
            _ => shown.extend(one.escape_debug()),
        }
    }
    if let Some((end, _)) = shown.char_indices().nth(LONGEST) {
        shown.truncate(end);
        shown.push_str("...");
    }
    shown
}

/// A time as tables and JSON have it. What cannot be written is the last time that can.
pub(crate) fn date(time: SystemTime) -> String {
    /// 9999-12-31T23:59:59Z.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let time = time.min(SystemTime::UNIX_EPOCH + LAST);
    humantime::format_rfc3339_millis(time).to_string()
}

/// Rows with columns as wide as they need to be.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With the titles of its columns.
    pub(crate) fn new(titles: &[&str]) -> Self {
        let titles = titles.iter().map(|&title| title.to_owned()).collect();
        Self { rows: vec![titles] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| {
            let cell = plain(&cell);
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    pub(crate) fn print(&self) {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths);
            let padded = |(cell, width): (&String, &usize)| {
                let missing = width.saturating_sub(cell.chars().count());
                format!("{cell}{}  ", " ".repeat(missing))
            };
            let text: String = cells.map(padded).collect();
            match number {
                0 => line(&coloured(text.trim_end(), Mood::Title)),
                _ => line(text.trim_end()),
            }
        }
    }
}

/// Labels, as one cell.
pub(crate) fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let all: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    all.join(",")
}
