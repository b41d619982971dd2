//! The daemon's program, for commands of which it has what they take.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

/// The one that stands beside this program, else that of the PATH.
pub(crate) fn command() -> Command {
    let beside = std::env::current_exe()
        .ok()
        .map(|program| program.with_file_name("weftd"))
        .filter(|program| program.exists());
    let program = beside.unwrap_or_else(|| PathBuf::from("weftd"));
    #[expect(clippy::disallowed_methods, reason = "a command of people, no plugin")]
    Command::new(program)
}

/// Goes on as that program.
///
/// # Errors
/// That it cannot be run.
pub(crate) fn become_it(mut command: Command) -> Result<()> {
    let error = command.exec();
    let program = command.get_program().to_string_lossy().into_owned();
    Err(error).with_context(|| format!("{program} cannot be run: it is installed with weft"))
}
