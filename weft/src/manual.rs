//! `weft completions` and `weft man`: made from the command line's own description.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;

use crate::{described, output};

/// Print what a shell needs to complete commands.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

/// Write the manual pages of weft and its commands.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory
    directory: PathBuf,
}

pub(crate) fn completions(wanted: &Completions) {
    let mut text = Vec::new();
    clap_complete::generate(wanted.shell, &mut described(), "weft", &mut text);
    output::text(&String::from_utf8_lossy(&text));
}

pub(crate) fn man(wanted: &Man) -> Result<()> {
    let mut count = 0;
    let mut command = described().disable_help_subcommand(true);
    command.build();
    write(&wanted.directory, &command, "weft", &mut count)?;
    output::line(&format!("{count} pages in {}", wanted.directory.display()));
    Ok(())
}

fn write(directory: &Path, command: &Command, name: &str, count: &mut usize) -> Result<()> {
    let mut page = Vec::new();
    // clap wants names for ever; a process makes each page once.
    let owned: &'static str = Box::leak(name.to_owned().into_boxed_str());
    clap_mangen::Man::new(command.clone().name(owned)).render(&mut page)?;
    let path = directory.join(format!("{name}.1"));
    std::fs::write(&path, page).with_context(|| format!("{} cannot be written", path.display()))?;
    *count += 1;
    for inner in command.get_subcommands() {
        write(
            directory,
            inner,
            &format!("{name}-{}", inner.get_name()),
            count,
        )?;
    }
    Ok(())
}
