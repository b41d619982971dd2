//! `weft overlay`: networks over several hosts, as the daemon has them.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use weft_api::daemon::{
    Control, DnsRequest, OverlayLine, PeerLine, PeerRouteLine, StepLine, ask, control_socket,
    dns_socket,
};
use weft_node::HostConfig;

use crate::cni::environment;
use crate::dns::{PATIENCE, explained};
use crate::output::{self, Format, Table};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the overlays of weft.toml, and how they are. The exit status is 1 if one is not as it should be
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Make them as weft.toml has them; the daemon does so by itself, too
    Apply(Apply),
    /// List other hosts, and how they are. The exit status is 1 if one is not heard of
    Peers(Ls),
    /// List the routes of this host and of other hosts
    Routes(Ls),
    /// Remove all that was made for them, until they are applied again or the daemon is started anew
    Down,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Ls(ls) => list(&ls.format),
        Verb::Apply(apply) => {
            let request = match apply.dry_run {
                true => Control::OverlayPlan,
                false => {
                    all_of::<weft_api::daemon::Done>(Control::Reload)?;
                    Control::OverlayApply
                }
            };
            steps(request)
        }
        Verb::Peers(ls) => peers(&ls.format),
        Verb::Routes(ls) => routes(&ls.format),
        Verb::Down => steps(Control::OverlayDown),
    }
}

fn all_of<T: DeserializeOwned>(request: Control) -> Result<Vec<T>> {
    let socket = control_socket(&HostConfig::read(&environment())?.state_dir);
    let mut all = Vec::new();
    let each = |one: T| {
        all.push(one);
        request != Control::Reload
    };
    ask(&socket, &request, Some(PATIENCE), each).map_err(explained)?;
    Ok(all)
}

fn steps(request: Control) -> Result<()> {
    let mut failures = 0;
    let all = all_of::<StepLine>(request)?;
    for one in &all {
        match &one.failure {
            Some(why) => {
                failures += 1;
                output::line(&format!("{}: {why}", one.step));
            }
            None => output::line(&one.step),
        }
    }
    if all.is_empty() {
        output::line("nothing to be changed");
    }
    if failures > 0 {
        bail!("{failures} of {} changes could not be made", all.len());
    }
    Ok(())
}

fn of_other_hosts<T: DeserializeOwned>(request: &DnsRequest) -> Result<Vec<T>> {
    let socket = dns_socket(&HostConfig::read(&environment())?.state_dir);
    let mut all = Vec::new();
    let each = |one: T| {
        all.push(one);
        true
    };
    ask(&socket, request, Some(PATIENCE), each).map_err(explained)?;
    Ok(all)
}

fn peers(format: &Format) -> Result<()> {
    let all = of_other_hosts::<PeerLine>(&DnsRequest::Peers)?;
    if !format.prints_json(&all)? {
        let titles = [
            "PEER", "ADDRESS", "STATE", "SINCE", "KIND", "ROUTES", "REFUSED", "RTT",
        ];
        let mut table = Table::new(&titles);
        for one in &all {
            let time = one.microseconds.map(|time| format!("{} us", time));
            table.row([
                one.id.clone(),
                one.address.to_string(),
                one.state.clone(),
                format!("{} s", one.seconds),
                one.kind.clone(),
                one.routes.to_string(),
                one.refused.to_string(),
                time.unwrap_or_default(),
            ]);
        }
        table.print();
        all.iter()
            .flat_map(remarks)
            .for_each(|text| output::line(&text));
    }
    let lost = all.iter().filter(|one| one.state != "up").count();
    if lost > 0 {
        bail!("{lost} of {} hosts are not heard of", all.len());
    }
    Ok(())
}

/// What is not as it should be with another host.
fn remarks(one: &PeerLine) -> Vec<String> {
    let id = &one.id;
    let error = one.trouble.iter().map(|text| format!("{id}: {text}"));
    let refusal = one
        .last_refusal
        .iter()
        .map(|text| format!("{id}: refused: {text}"));
    let silent = one.unreachable.iter().map(|vni| {
        format!(
            "{id}: no packet comes back through the overlay with VNI {vni}: is its UDP port open between the hosts?"
        )
    });
    let narrow = one.narrow.iter().map(|vni| {
        format!(
            "{id}: no packet of full size comes back through the overlay with VNI {vni}: its mtu is too large for what is between the hosts"
        )
    });
    error.chain(refusal).chain(silent).chain(narrow).collect()
}

fn routes(format: &Format) -> Result<()> {
    let all = of_other_hosts::<PeerRouteLine>(&DnsRequest::PeerRoutes)?;
    if !format.prints_json(&all)? {
        let titles = [
            "VNI", "PREFIX", "NEXT HOP", "METRIC", "PEER", "STATE", "TABLE",
        ];
        let mut table = Table::new(&titles);
        for one in &all {
            let number = one.table.map(|number| number.to_string());
            table.row([
                one.vni.to_string(),
                one.prefix.clone(),
                one.next_hop.to_string(),
                one.metric.to_string(),
                one.peer.clone(),
                one.state.clone(),
                number.unwrap_or_default(),
            ]);
        }
        table.print();
    }
    Ok(())
}

fn list(format: &Format) -> Result<()> {
    let all = all_of::<OverlayLine>(Control::Overlays)?;
    let troubles: Vec<String> = all
        .iter()
        .flat_map(|one| {
            one.troubles
                .iter()
                .map(move |text| format!("{}: {text}", one.name))
        })
        .collect();
    if !format.prints_json(&all)? {
        let titles = [
            "NAME",
            "VNI",
            "MODE",
            "BRIDGE",
            "ADDRESSES",
            "UNDERLAY",
            "PORT",
            "MTU",
            "PEERS",
        ];
        let mut table = Table::new(&titles);
        for one in &all {
            let local = one.local.map(|ip| format!(" {ip}")).unwrap_or_default();
            table.row([
                one.name.clone(),
                one.vni.to_string(),
                one.mode.clone(),
                one.bridge.clone(),
                one.addresses.join(","),
                format!("{}{local}", one.underlay),
                one.port.to_string(),
                one.mtu.to_string(),
                one.peers.len().to_string(),
            ]);
        }
        table.print();
    }
    match troubles.as_slice() {
        [] => Ok(()),
        troubles => bail!("{}", troubles.join("; ")),
    }
}
