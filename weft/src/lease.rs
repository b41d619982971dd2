//! `weft lease`: addresses and the containers that have them.

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::network::manager;
use crate::output::{self, Format, Table};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List leased addresses, and how full the pools are
    #[command(visible_alias = "list")]
    Ls(Ls),
}

/// List leased addresses, and how full the pools are.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only those of this network
    #[arg(long, short)]
    network: Option<String>,
    /// Only how full the pools are
    #[arg(long)]
    pools: bool,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    let Verb::Ls(ls) = verb;
    let vnet = manager()?;
    let wanted = ls.network.as_ref();
    let wanted = wanted.map(|text| vnet.network(text)).transpose()?;
    let is_meant = |network: &str| wanted.as_ref().is_none_or(|wanted| wanted.name == network);
    let mut pools = vnet.pools()?;
    pools.retain(|one| is_meant(&one.network));
    if ls.pools {
        if ls.format.prints_json(&pools)? {
            return Ok(());
        }
        let mut table = Table::new(&["NETWORK", "FAMILY", "USED", "OF"]);
        for pool in &pools {
            table.row([
                pool.network.clone(),
                pool.family.to_owned(),
                pool.used.to_string(),
                pool.capacity.to_string(),
            ]);
        }
        table.print();
        return Ok(());
    }
    let mut leases = vnet.leases()?;
    leases.retain(|one| is_meant(&one.network));
    if ls.format.prints_json(&leases)? {
        return Ok(());
    }
    let mut table = Table::new(&["ADDRESS", "POOL", "NETWORK", "CONTAINER", "INTERFACE"]);
    for one in leases {
        let short = one.container_id.chars().take(12).collect();
        table.row([
            one.address.to_string(),
            one.pool,
            one.network,
            one.name.unwrap_or(short),
            one.interface_name,
        ]);
    }
    table.print();
    for pool in pools {
        let (network, family) = (&pool.network, pool.family);
        output::line(&format!(
            "{network} {family}: {} of {} leased",
            pool.used, pool.capacity
        ));
    }
    Ok(())
}
