//! `weft network ls` and `inspect`.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use weft_vnet::{Endpoint, Reach, VNetManager, VirtualNetwork};

use crate::output::{self, Format, Table};

/// List networks, with their endpoints and what they reach.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only those for which it holds: name=PART, driver=NAME, isolation=NAME, label=KEY or label=KEY=VALUE
    #[arg(long = "filter", short, value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Names only
    #[arg(long, short)]
    quiet: bool,
    /// Ids at full length
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: Format,
}

/// Show networks with everything that is known of them.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Names or ids
    #[arg(required = true)]
    networks: Vec<String>,
    #[command(flatten)]
    format: Format,
}

/// A network with what is attached to it.
#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    network: VirtualNetwork,
    reaches: Vec<String>,
    endpoints: Vec<Endpoint>,
}

/// All networks; endpoints and connections are read once.
fn wholes(vnet: &VNetManager) -> Result<Vec<Whole>> {
    let mut by_network: HashMap<String, Vec<Endpoint>> = HashMap::new();
    for endpoint in vnet.endpoints()? {
        let own = by_network.entry(endpoint.network.clone()).or_default();
        own.push(endpoint);
    }
    let reach: BTreeMap<String, Reach> = vnet
        .reach()?
        .into_iter()
        .map(|one| (one.network.clone(), one))
        .collect();
    let networks = vnet.networks()?.into_iter();
    let whole = networks.map(|network| Whole {
        reaches: reach
            .get(&network.name)
            .map_or_else(Vec::new, |one| one.reaches.clone()),
        endpoints: by_network.remove(&network.name).unwrap_or_default(),
        network,
    });
    Ok(whole.collect())
}

fn holds(filter: &str, network: &VirtualNetwork) -> Result<bool> {
    let Some((key, value)) = filter.split_once('=') else {
        bail!("--filter {filter}: must be KEY=VALUE");
    };
    Ok(match key {
        "name" => network.name.contains(value),
        "id" => network.id.starts_with(value),
        "driver" => network.driver_type.to_string() == value,
        "isolation" => network.isolation_mode.to_string() == value,
        "label" => match value.split_once('=') {
            Some((key, value)) => network.labels.get(key).is_some_and(|own| own == value),
            None => network.labels.contains_key(value),
        },
        _ => bail!("--filter {key}: known keys are name, id, driver, isolation and label"),
    })
}

pub(super) fn list(vnet: &VNetManager, ls: &Ls) -> Result<()> {
    let mut shown = Vec::new();
    for whole in wholes(vnet)? {
        let mut is_meant = true;
        for filter in &ls.filters {
            is_meant &= holds(filter, &whole.network)?;
        }
        if is_meant {
            shown.push(whole);
        }
    }
    for broken in vnet.broken_files()? {
        output::warning(&broken);
    }
    if ls.quiet {
        shown.iter().for_each(|one| output::line(&one.network.name));
        return Ok(());
    }
    if ls.format.prints_json(&shown)? {
        return Ok(());
    }
    let mut table = Table::new(&[
        "NAME",
        "ID",
        "DRIVER",
        "ISOLATION",
        "SUBNETS",
        "ENDPOINTS",
        "REACHES",
    ]);
    for whole in &shown {
        let network = &whole.network;
        let subnets = [network.cidr, network.cidr_v6].into_iter().flatten();
        let subnets: Vec<String> = subnets.map(|one| one.to_string()).collect();
        table.row([
            network.name.clone(),
            match ls.no_trunc {
                true => network.id.clone(),
                false => network.id.chars().take(12).collect(),
            },
            network.driver_type.to_string(),
            network.isolation_mode.to_string(),
            subnets.join(","),
            whole.endpoints.len().to_string(),
            whole.reaches.join(","),
        ]);
    }
    table.print();
    Ok(())
}

pub(super) fn inspect(vnet: &mut VNetManager, inspect: &Inspect) -> Result<()> {
    let mut all = wholes(vnet)?;
    let mut names = Vec::new();
    for text in &inspect.networks {
        let name = vnet.network(text)?.name;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    all.retain(|one| names.contains(&one.network.name));
    let place = |one: &Whole| names.iter().position(|name| *name == one.network.name);
    all.sort_by_key(place);
    let shown = all;
    if inspect.format.prints_json(&shown)? {
        return Ok(());
    }
    for (number, whole) in shown.iter().enumerate() {
        if number > 0 {
            output::line("");
        }
        show(whole);
    }
    Ok(())
}

fn show(whole: &Whole) {
    let network = &whole.network;
    let field = |name: &str, value: String| {
        if !value.is_empty() {
            output::line(&format!("{name:<12} {value}"));
        }
    };
    let date = output::date;
    field("name", network.name.clone());
    field("id", network.id.clone());
    field("driver", network.driver_type.to_string());
    field("isolation", network.isolation_mode.to_string());
    for (cidr, gateway) in [
        (network.cidr, network.gateway),
        (network.cidr_v6, network.gateway_v6),
    ] {
        let Some(cidr) = cidr else { continue };
        let gateway = gateway.map_or_else(String::new, |one| format!(", gateway {one}"));
        field("subnet", format!("{cidr}{gateway}"));
    }
    field("mesh", network.mesh.clone().unwrap_or_default());
    field("parent", network.parent.clone().unwrap_or_default());
    field("reaches", whole.reaches.join(", "));
    for (key, value) in &network.options {
        field("option", format!("{key} = {value}"));
    }
    field("labels", output::labels(&network.labels));
    field("plugins", network.plugins.join(", "));
    field("created", date(network.created_at));
    field("updated", date(network.updated_at));
    let file = network.file.as_ref();
    field(
        "file",
        file.map_or_else(
            || "none in this directory: known by its endpoints".to_owned(),
            |path| path.display().to_string(),
        ),
    );
    field("endpoints", whole.endpoints.len().to_string());
    if !whole.endpoints.is_empty() {
        crate::endpoint::table(&whole.endpoints).print();
    }
}
