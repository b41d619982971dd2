//! `weft config`: is a configuration file right?

mod chain;
mod check;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;

use crate::output;

pub(crate) use check::problems;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Report every problem of network configuration files: unknown keys, missing plugins, their order, capabilities
    /// that none of them knows, overlapping subnets
    Check {
        /// Files, or directories of files [default: the directory of the host's networks]
        files: Vec<PathBuf>,
    },
    /// Print the reference of configuration keys, variables and error codes as Markdown
    Reference {
        /// Which page
        page: Page,
    },
}

/// A generated page of the documentation.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Page {
    /// docs/configuration.md
    Configuration,
    /// docs/errors.md
    Errors,
    /// docs/commands.md
    Commands,
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Check { files } => {
            let found = problems(files)?;
            found.iter().for_each(|text| output::line(text));
            if !found.is_empty() {
                bail!("{} problems", found.len());
            }
            output::line("no problems");
        }
        Verb::Reference {
            page: Page::Configuration,
        } => {
            output::line(crate::reference::configuration().trim_end());
        }
        Verb::Reference {
            page: Page::Commands,
        } => {
            output::line(crate::reference::commands().trim_end());
        }
        Verb::Reference { page: Page::Errors } => {
            output::line(crate::reference::errors().trim_end());
        }
    }
    Ok(())
}
