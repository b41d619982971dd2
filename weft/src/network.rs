//! `weft network`: networks made, looked at, joined and removed.

mod connect;
mod create;
mod show;

use anyhow::Result;
use clap::Subcommand;
use weft_vnet::{Removed, VNetError, VNetManager, counted};

use crate::cni::environment;
use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a network: a configuration that every CNI runtime reads
    Create(Box<create::Create>),
    /// List networks, with their endpoints and what they reach
    #[command(visible_alias = "list")]
    Ls(show::Ls),
    /// Show networks with everything that is known of them
    Inspect(show::Inspect),
    /// Change a network's labels, options or isolation
    Update(create::Update),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove the networks that weft has made and that have no endpoints
    Prune(Prune),
    /// Fail if there is no network of this name or id
    Exists {
        /// Its name or id
        network: String,
    },
    /// Attach a running container to a network, or let two networks of isolation mesh reach each other
    Connect(connect::Connect),
    /// Take that back
    Disconnect(connect::Disconnect),
}

/// Remove networks.
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// Names or ids
    #[arg(required = true)]
    networks: Vec<String>,
    /// Disconnect their endpoints first; remove networks that weft has not made too
    #[arg(long, short)]
    force: bool,
}

/// Remove the networks that weft has made and that have no endpoints.
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Accepted; there is no question
    #[arg(long, short)]
    force: bool,
}

pub(crate) fn manager() -> Result<VNetManager> {
    Ok(VNetManager::of_environment(&environment())?)
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    let mut vnet = manager()?;
    match verb {
        Verb::Create(create) => create::create(&mut vnet, create),
        Verb::Update(update) => create::update(&mut vnet, update),
        Verb::Ls(ls) => show::list(&vnet, ls),
        Verb::Inspect(inspect) => show::inspect(&mut vnet, inspect),
        Verb::Rm(rm) => remove(&mut vnet, rm),
        Verb::Prune(_) => {
            let pruned = vnet.prune_networks()?;
            pruned.removed.iter().for_each(|name| output::line(name));
            all_failures(pruned.failures)
        }
        Verb::Exists { network } => Ok(vnet.network(network).map(drop)?),
        Verb::Connect(connect) => connect::connect(&mut vnet, connect),
        Verb::Disconnect(disconnect) => connect::disconnect(&mut vnet, disconnect),
    }
}

/// Each by itself: one that cannot be removed does not keep the others.
fn remove(vnet: &mut VNetManager, rm: &Rm) -> Result<()> {
    let mut failures: Vec<VNetError> = Vec::new();
    for name in &rm.networks {
        match vnet.remove_network(name, rm.force) {
            Ok(removed) => report(removed),
            Err(error) => failures.push(error),
        }
    }
    all_failures(failures)
}

fn report(removed: Removed) {
    removed
        .warnings
        .iter()
        .for_each(|text| output::warning(text));
    output::line(&match removed.endpoints {
        0 => removed.name,
        count => format!("{} with {}", removed.name, counted(count, "endpoint")),
    });
}

/// The first failure is returned, the others are printed here.
fn all_failures(failures: Vec<VNetError>) -> Result<()> {
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else {
        return Ok(());
    };
    for other in failures {
        output::failure(&other.into());
    }
    Err(first.into())
}
