//! `weft pki`: certificates for hosts that speak with each other. The daemon's program has what that takes, and is run.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::weftd;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make an authority, whose certificates hosts believe
    Init(Init),
    /// Make the certificate of a host, and print the line of weft.toml for it
    Issue(Issue),
    /// Show certificates: whose, for which addresses, until when
    Show(Show),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where the authority is kept
    #[arg(long, default_value = DIRECTORY)]
    dir: PathBuf,
    /// Its name
    #[arg(long, default_value = "Weft overlay")]
    name: String,
    /// For how many days it is valid
    #[arg(long, default_value_t = 3650)]
    days: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// The host's id: its node.id, and the id that other hosts have it by
    id: String,
    /// Addresses at which other hosts call it: those that they have it by
    #[arg(required = true)]
    addresses: Vec<IpAddr>,
    /// Where the authority is kept
    #[arg(long, default_value = DIRECTORY)]
    dir: PathBuf,
    /// Where the files are written; by default there
    #[arg(long)]
    out: Option<PathBuf>,
    /// For how many days it is valid
    #[arg(long, default_value_t = 825)]
    days: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Files; by default all of the authority's directory
    files: Vec<PathBuf>,
    /// Where the authority is kept
    #[arg(long, default_value = DIRECTORY)]
    dir: PathBuf,
}

const DIRECTORY: &str = "/etc/weft/pki";

pub(crate) fn run(verb: &Verb) -> Result<()> {
    let mut command = weftd::command();
    command.arg("pki");
    match verb {
        Verb::Init(init) => {
            command.arg("init").arg("--dir").arg(&init.dir);
            command.arg(format!("--name={}", init.name));
            command.arg(format!("--days={}", init.days));
        }
        Verb::Issue(issue) => {
            command.arg("issue").arg("--dir").arg(&issue.dir);
            command.arg(format!("--days={}", issue.days));
            if let Some(out) = &issue.out {
                command.arg("--out").arg(out);
            }
            command.arg("--").arg(&issue.id);
            command.args(issue.addresses.iter().map(ToString::to_string));
        }
        Verb::Show(show) => {
            command.arg("show").arg("--dir").arg(&show.dir);
            command.arg("--").args(&show.files);
        }
    }
    weftd::become_it(command)
}
