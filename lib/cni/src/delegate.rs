//! Executing another plugin: as a delegate (IPAM), or, on the runtime side, as a chain's link.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::error::{CniError, Code};

/// Finds the executable of a plugin type in the directories of `CNI_PATH`, and nowhere else.
///
/// # Errors
/// Code 109 when it is in none of them, code 7 when the type is not a file name.
pub fn find(plugin_type: &str, path: &[PathBuf]) -> Result<PathBuf, CniError> {
    if plugin_type.is_empty() || plugin_type.contains('/') {
        return Err(CniError::new(
            Code::InvalidConfig,
            format!("type: {plugin_type:?} must be a file name"),
        ));
    }
    path.iter()
        .map(|dir| dir.join(plugin_type))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            let dirs: Vec<String> = path.iter().map(|dir| dir.display().to_string()).collect();
            CniError::new(
                Code::DelegateFailed,
                format!(
                    "plugin {plugin_type:?} not found in CNI_PATH [{}]",
                    dirs.join(":")
                ),
            )
        })
}

/// One execution of a plugin.
#[derive(Debug, Clone)]
pub struct Execution<'a> {
    /// The executable.
    pub program: &'a Path,
    /// The verb.
    pub command: &'a str,
    /// The configuration.
    pub input: &'a [u8],
    /// Variables to set besides the inherited ones; an empty value removes nothing.
    pub variables: &'a [(&'a str, String)],
}

impl Execution<'_> {
    /// Runs the plugin to its end. Its standard error is this process's. Returns the document it
    /// printed, if any.
    ///
    /// # Errors
    /// The plugin's own error if it printed one; otherwise code 109 with what is known.
    pub fn run(&self) -> Result<Option<Value>, CniError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            CniError::new(
                Code::DelegateFailed,
                format!(
                    "{} {}: {what}: {error}",
                    self.program.display(),
                    self.command
                ),
            )
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that executes plugins"
        )]
        let mut command = Command::new(self.program);
        command
            .env("CNI_COMMAND", self.command)
            .envs(
                self.variables
                    .iter()
                    .map(|(name, value)| (*name, value.as_str())),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = spawn(&mut command).map_err(|error| failed("cannot execute", &error))?;
        let stdin = child.stdin.take();
        // A plugin may answer before it has read everything: writing must not block reading.
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(self.input)));
            child.wait_with_output()
        })
        .map_err(|error| failed("waiting for it", &error))?;
        let document = serde_json::from_slice::<Value>(&output.stdout).ok();
        if output.status.success() {
            return Ok(document);
        }
        let own = document.and_then(|value| serde_json::from_value::<CniError>(value).ok());
        Err(own.filter(|error| error.code != 0).unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&output.stdout);
            failed(&output.status.to_string(), &text.trim())
        }))
    }
}

/// A plugin that is being replaced by writing (not by renaming) is "busy" for a moment.
fn spawn(command: &mut Command) -> std::io::Result<std::process::Child> {
    for _ in 0..5 {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(200));
            }
            other => return other,
        }
    }
    command.spawn()
}
