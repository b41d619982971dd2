//! `weft firewall`: what is closed to whom, and whether the kernel agrees.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use weft_cni::CniError;
use weft_firewall::differences::{differences, dropped_frames, in_expected, reload};
use weft_firewall::policy::{Selector, World};
use weft_node::Host;
use weft_store::AttachmentRecord;

use crate::cni::environment;
use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print networks and containers: isolation, ports, rules, dropped frames
    Show {
        /// Only this network
        network: Option<String>,
    },
    /// Print the ruleset that should be, as nft shows it
    Render {
        /// As nft's JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare the kernel's ruleset with what should be; the exit status tells
    Diff,
    /// Put the ruleset back as it should be
    Reload,
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    let mut host = Host::of_environment(&environment())?;
    match verb {
        Verb::Show { network } => show(&mut host, network.as_deref()),
        Verb::Render { json } => render(&mut host, *json),
        Verb::Diff => {
            let found = differences(&mut host).map_err(CniError::from)?;
            for one in &found {
                let sign = if one.is_extra { '+' } else { '-' };
                output::line(&format!("{sign} {}", one.what));
            }
            if !found.is_empty() {
                bail!(
                    "{} differences (- missing, + too much): weft firewall reload",
                    found.len()
                );
            }
            Ok(())
        }
        Verb::Reload => {
            let before = reload(&mut host).map_err(CniError::from)?;
            output::line(&format!("{} differences put right", before.len()));
            Ok(())
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "no verb: a person wants to read what nft prints"
)]
fn render(host: &mut Host, json: bool) -> Result<()> {
    let text = in_expected(host, || -> Result<String> {
        if json {
            return nftables::helper::get_current_ruleset_raw(
                nftables::helper::DEFAULT_NFT,
                nftables::helper::DEFAULT_ARGS,
            )
            .context("nft (Debian package nftables)");
        }
        let output = Command::new("nft")
            .args(["--stateless", "list", "ruleset"])
            .output()
            .context("nft (Debian package nftables)")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    })
    .map_err(CniError::from)??;
    output::line(text.trim_end());
    Ok(())
}

fn show(host: &mut Host, wanted: Option<&str>) -> Result<()> {
    let world = World::read(host).map_err(CniError::from)?;
    let dropped: BTreeMap<String, u64> = dropped_frames(host)
        .map_err(CniError::from)?
        .into_iter()
        .collect();
    let mut networks: BTreeMap<&str, Vec<&AttachmentRecord>> = BTreeMap::new();
    for record in world.attachments() {
        let name = record.id.network.as_str();
        if wanted.is_none_or(|wanted| wanted == name) {
            networks.entry(name).or_default().push(record);
        }
    }
    if let (Some(wanted), true) = (wanted, networks.is_empty()) {
        bail!("{wanted}: no container of this network is attached");
    }
    for (name, records) in networks {
        let closed = |record: &&AttachmentRecord| !record.isolation.is_none();
        let isolation = records.iter().copied().find(|one| closed(one));
        let isolation = isolation.map(|record| record.isolation).unwrap_or_default();
        output::line(&format!(
            "{name}: isolation {isolation}, {} containers",
            records.len()
        ));
        for record in records {
            container(&world, record, &dropped);
        }
    }
    Ok(())
}

fn container(world: &World, record: &AttachmentRecord, dropped: &BTreeMap<String, u64>) {
    let addresses: Vec<String> = record
        .addresses
        .iter()
        .map(|one| one.address.ip().to_string())
        .collect();
    let name = record.name.as_deref().unwrap_or_default();
    output::line(&format!(
        "  {}/{} {name} {}",
        record.id.container_id,
        record.id.ifname,
        addresses.join(" ")
    ));
    for (key, value) in &record.labels {
        output::line(&format!("    label {key}={value}"));
    }
    if let Some(port) = record.link.port()
        && let Some(count) = dropped.get(&port.name)
    {
        let name = &port.name;
        output::line(&format!(
            "    port {name}: frames are checked, {count} dropped"
        ));
    }
    for port in record.ports() {
        let inside = port.container_port;
        output::line(&format!("    port {port} of the host leads to {inside}"));
    }
    if record.is_kept_apart() {
        output::line("    kept apart from other closed networks (weft-firewall)");
    }
    for rule in world.rules() {
        let means =
            |side: &Selector| matches!(side, Selector::Endpoints(one) if one.matches(record));
        if means(&rule.from) || means(&rule.to) {
            output::line(&format!("    {rule}"));
        }
    }
}
