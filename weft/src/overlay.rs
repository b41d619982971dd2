//! `weft overlay`: networks over several hosts, as the daemon has them.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use weft_api::daemon::{Control, OverlayLine, StepLine, ask, control_socket};
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
