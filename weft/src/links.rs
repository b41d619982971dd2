//! `weft plugins`: what there is, and the names in a directory by which runtimes call them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use weft_cni::Plugin;

use crate::output;
use crate::plugins::{ALL, names};

/// The name of the program itself.
const PROGRAM: &str = "weft";
/// What a file is called until it is whole, before the number of the process that makes it.
const UNFINISHED: &str = ".weft-new-";
/// Other names that are always linked: containerd's CRI calls a plugin `loopback` for every pod, and Podman gives a new
/// network names if there is a plugin `dnsname`.
const ALWAYS: [&str; 2] = ["loopback", "dnsname"];

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the plugins, with the reference plugins whose configurations they take
    List,
    /// Give this program, in a directory, the names by which runtimes call it, as hard links
    Link {
        /// The directory, such as /opt/cni/bin
        directory: PathBuf,
        /// The names of the reference plugins too: their files there are replaced (those of loopback and dnsname always are)
        #[arg(long)]
        other_names: bool,
    },
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::List => {
            for plugin in ALL {
                let declared = plugin.declaration();
                output::line(&format!(
                    "{:<16}{}",
                    declared.name,
                    declared.other_names.join(", ")
                ));
            }
            Ok(())
        }
        Verb::Link {
            directory,
            other_names,
        } => link(directory, *other_names),
    }
}

fn link(directory: &Path, other_names: bool) -> Result<()> {
    ensure!(
        directory.is_dir(),
        "{} is no directory: make it first",
        directory.display()
    );
    remove_left(directory)?;
    let program = directory.join(PROGRAM);
    let own = std::env::current_exe().context("which file this program is cannot be told")?;
    if !is_same_file(&own, &program) {
        replace(&program, |new| fs::copy(&own, new).map(drop))?;
    }
    let own_names = ALL.into_iter().map(Plugin::name);
    let linked: Vec<&str> = match other_names {
        true => names(),
        false => own_names.chain(ALWAYS).collect(),
    };
    let mut failures = Vec::new();
    for name in &linked {
        let path = directory.join(name);
        if !is_same_file(&program, &path)
            && let Err(error) = replace(&path, |new| fs::hard_link(&program, new))
        {
            failures.push(format!("{error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    output::line(&format!(
        "{} has {} names of {}",
        directory.display(),
        linked.len(),
        program.display()
    ));
    Ok(())
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| {
        fs::symlink_metadata(path)
            .ok()
            .map(|meta| (meta.dev(), meta.ino()))
    };
    identity(one).is_some_and(|own| Some(own) == identity(other))
}

/// Removes what a call that was killed has left.
fn remove_left(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).context("the directory cannot be read")? {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED));
        let is_left = |process: &str| !Path::new("/proc").join(process).exists();
        if process.is_some_and(|process| process.parse::<u32>().is_ok() && is_left(process)) {
            fs::remove_file(entry.path())
                .with_context(|| format!("{} cannot be removed", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Puts a new file in the place of one that may be running, in one step.
fn replace(path: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let new = path.with_file_name(format!("{UNFINISHED}{}", std::process::id()));
    let outcome = make(&new).and_then(|()| fs::rename(&new, path));
    if outcome.is_err() {
        // Its own failure says less.
        let _ = fs::remove_file(&new);
    }
    outcome.with_context(|| format!("{} cannot be made", path.display()))
}
