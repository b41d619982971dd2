//! `weft ops`: what plugins were called for, how long it took, and what failed.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use weft_api::operations::{Operation, history};
use weft_node::HostConfig;

use crate::cni::environment;
use crate::output::{self, Format, Mood, Table, coloured};

/// What plugins were called for, how long it took, and what failed.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Ops {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The last calls, the newest at the end; what `weft ops` alone prints
    History(Which),
    /// The calls that took longest
    Slowest(Which),
    /// The calls that have failed, with their errors
    Errors(Which),
}

#[derive(Debug, Clone, Args)]
struct Which {
    /// How many
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: usize,
    /// Only of this network
    #[arg(long)]
    network: Option<String>,
    /// Only of containers whose id begins so
    #[arg(long)]
    container: Option<String>,
    /// Only this verb: ADD, DEL, CHECK, GC, CREATE, UPDATE or REMOVE
    #[arg(long)]
    verb: Option<String>,
    /// Only of this plugin
    #[arg(long)]
    plugin: Option<String>,
    #[command(flatten)]
    format: Format,
}

impl Which {
    fn is_meant(&self, one: &Operation) -> bool {
        let is = |wanted: &Option<String>, own: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(own))
        };
        let begins = self.container.as_ref();
        is(&self.network, &one.network)
            && is(&self.verb, &one.verb)
            && is(&self.plugin, &one.plugin)
            && begins.is_none_or(|begin| one.container.starts_with(begin.as_str()))
    }
}

/// The directory of live state.
pub(crate) fn state_dir() -> Result<PathBuf> {
    Ok(HostConfig::read(&environment())?.state_dir)
}

pub(crate) fn run(ops: &Ops) -> Result<()> {
    let dir = state_dir()?;
    // A directory that may not be read is no empty list.
    match std::fs::read_dir(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("{}: {error}", dir.display());
        }
        _ => {}
    }
    let found = history(&dir);
    if let Some(problem) = &found.problem {
        output::warning(problem);
    }
    let mut all = found.operations;
    let which = match &ops.verb {
        None => &ops.which,
        Some(Verb::History(which)) => which,
        Some(Verb::Slowest(which)) => {
            all.sort_by_key(|one| one.us);
            which
        }
        Some(Verb::Errors(which)) => {
            all.retain(Operation::has_failed);
            which
        }
    };
    all.retain(|one| which.is_meant(one));
    let mut shown = all.split_off(all.len().saturating_sub(which.limit));
    if matches!(ops.verb, Some(Verb::Slowest(_))) {
        shown.reverse();
    }
    if which.format.prints_json(&shown)? {
        return Ok(());
    }
    print(&shown);
    if matches!(ops.verb, Some(Verb::Errors(_))) {
        for one in &shown {
            output::line(&format!(
                "{} {} {}: {}",
                time(one),
                one.verb,
                one.plugin,
                coloured(&one.error, Mood::Bad)
            ));
        }
    }
    Ok(())
}

fn time(one: &Operation) -> String {
    output::date(one.began())
}

/// As milliseconds.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn ms(us: u64) -> String {
    format!("{:.2}", us as f64 / 1000.0)
}

fn print(operations: &[Operation]) {
    let mut table = Table::new(&[
        "TIME",
        "VERB",
        "PLUGIN",
        "NETWORK",
        "CONTAINER",
        "INTERFACE",
        "MS",
        "CODE",
        "PHASES (MS)",
    ]);
    for one in operations {
        let phases: Vec<String> = one
            .phases
            .iter()
            .map(|(name, us)| format!("{name} {}", ms(*us)))
            .collect();
        table.row([
            time(one),
            one.verb.clone(),
            one.plugin.clone(),
            one.network.clone(),
            one.container.chars().take(12).collect(),
            one.ifname.clone(),
            ms(one.us),
            one.code.to_string(),
            phases.join(", "),
        ]);
    }
    table.print();
}
