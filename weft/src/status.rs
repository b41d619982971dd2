//! `weft status`: how Weft stands on this host, a line for each part.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use weft_api::operations::{counters, history};
use weft_cni::CniError;
use weft_firewall::differences::differences;
use weft_firewall::policy::read_files;
use weft_vnet::{VNetManager, counted};

use crate::daemon::Daemon;
use crate::network::manager;
use crate::output::{self, Format, Mood, coloured};
use crate::plugins::ALL;

/// How Weft stands on this host, a line for each part. The exit status is 1 if a part needs attention.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// One word, ok or attention, for probes
    #[arg(long)]
    brief: bool,
    #[command(flatten)]
    format: Format,
}

/// A part.
#[derive(Debug, Serialize)]
struct Part {
    name: &'static str,
    is_well: bool,
    text: String,
}

impl Part {
    fn well(name: &'static str, text: String) -> Self {
        let is_well = true;
        Self {
            name,
            is_well,
            text,
        }
    }

    fn unwell(name: &'static str, text: impl std::fmt::Display) -> Self {
        let (is_well, text) = (false, text.to_string());
        Self {
            name,
            is_well,
            text,
        }
    }
}

#[derive(Debug, Serialize)]
struct Whole {
    version: &'static str,
    is_well: bool,
    parts: Vec<Part>,
}

pub(crate) fn run(status: &Status) -> Result<ExitCode> {
    let mut vnet = manager()?;
    let parts = vec![
        store(&vnet),
        plugins(&vnet),
        networks(&vnet),
        pools(&vnet),
        firewall(&mut vnet),
        policies(&vnet),
        daemon(&vnet),
        operations(&vnet),
        connections(),
        links(&mut vnet),
    ];
    let whole = Whole {
        version: env!("CARGO_PKG_VERSION"),
        is_well: parts.iter().all(|part| part.is_well),
        parts,
    };
    let code = match whole.is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    if status.brief {
        output::line(if whole.is_well { "ok" } else { "attention" });
        return Ok(code);
    }
    if status.format.prints_json(&whole)? {
        return Ok(code);
    }
    output::line(&format!("weft {}", whole.version));
    for part in &whole.parts {
        let mark = match part.is_well {
            true => coloured("ok       ", Mood::Good),
            false => coloured("attention", Mood::Bad),
        };
        output::line(&format!("{:<11} {mark} {}", part.name, part.text));
    }
    if !whole.is_well {
        output::line("weft doctor says more, with what to do");
    }
    Ok(code)
}

/// It is needed where containers have names.
fn daemon(vnet: &VNetManager) -> Part {
    const NAME: &str = "daemon";
    let found = match Daemon::look(&vnet.host) {
        Ok(found) => found,
        Err(error) => return Part::unwell(NAME, error),
    };
    match (found.is_running, found.asking, found.troubles.first()) {
        (_, _, Some(trouble)) => Part::unwell(NAME, trouble),
        (true, asking, None) => Part::well(NAME, format!("weftd answers {asking} interfaces")),
        (false, 0, None) => Part::well(NAME, "weftd does not run; nothing needs it".to_owned()),
        (false, asking, None) => Part::unwell(
            NAME,
            format!(
                "weftd does not run, and {asking} interfaces ask it for names: systemctl start weftd"
            ),
        ),
    }
}

fn store(vnet: &VNetManager) -> Part {
    const NAME: &str = "store";
    let path = vnet.host.store.path();
    let backend = vnet.host.store.backend();
    match vnet.host.store.read(|transaction| transaction.findings()) {
        Ok(found) if found.is_empty() => {
            let size = std::fs::metadata(&path).map_or(0, |meta| meta.len());
            Part::well(
                NAME,
                format!("{} ({backend}, {size} bytes)", path.display()),
            )
        }
        Ok(found) => {
            let count = found.len();
            Part::unwell(NAME, format!("{count} findings: weft store check"))
        }
        Err(error) => Part::unwell(NAME, CniError::from(weft_node::WeftError::from(error)).msg),
    }
}

fn plugins(vnet: &VNetManager) -> Part {
    const NAME: &str = "plugins";
    let is_there = |name: &str| {
        let mut dirs = vnet.places.plugin_path.iter();
        dirs.any(|dir| dir.join(name).is_file())
    };
    let missing: Vec<&str> = ALL
        .iter()
        .map(|plugin| plugin.name())
        .filter(|name| !is_there(name))
        .collect();
    match missing.as_slice() {
        [] => Part::well(NAME, format!("{} are installed", ALL.len())),
        missing => Part::unwell(
            NAME,
            format!(
                "{} are missing: weft plugins link /opt/cni/bin",
                missing.join(", ")
            ),
        ),
    }
}

fn networks(vnet: &VNetManager) -> Part {
    const NAME: &str = "networks";
    let count = || -> Result<(usize, usize, usize), weft_vnet::VNetError> {
        let broken = vnet.broken_files()?.len();
        Ok((vnet.networks()?.len(), vnet.endpoints()?.len(), broken))
    };
    match count() {
        Ok((networks, endpoints, 0)) => {
            let endpoints = counted(endpoints, "endpoint");
            Part::well(NAME, format!("{networks} with {endpoints}"))
        }
        Ok((networks, _, broken)) => Part::unwell(
            NAME,
            format!("{networks}, and {broken} configurations that cannot be read: weft network ls"),
        ),
        Err(error) => Part::unwell(NAME, error),
    }
}

fn pools(vnet: &VNetManager) -> Part {
    const NAME: &str = "addresses";
    let pools = match vnet.pools() {
        Ok(pools) => pools,
        Err(error) => return Part::unwell(NAME, error),
    };
    let fullest = pools
        .iter()
        .max_by(|one, other| one.share().total_cmp(&other.share()));
    let Some(pool) = fullest else {
        return Part::well(NAME, "no pools".to_owned());
    };
    let text = format!(
        "fullest pool: {} {} with {} of {}",
        pool.network, pool.family, pool.used, pool.capacity
    );
    match pool.is_nearly_full() {
        true => Part::unwell(NAME, text),
        false => Part::well(NAME, text),
    }
}

fn firewall(vnet: &mut VNetManager) -> Part {
    const NAME: &str = "firewall";
    match differences(&mut vnet.host) {
        Ok(found) if found.is_empty() => {
            Part::well(NAME, "the kernel's rules are as they should be".to_owned())
        }
        Ok(found) => {
            let count = found.len();
            Part::unwell(NAME, format!("{count} differences: weft firewall diff"))
        }
        Err(error) => Part::unwell(NAME, error),
    }
}

/// What doctor finds on the host's interfaces and in its settings.
fn links(vnet: &mut VNetManager) -> Part {
    const NAME: &str = "links";
    match weft_attach::doctor::findings(&mut vnet.host) {
        Ok(found) if found.is_empty() => Part::well(
            NAME,
            "bridges, ports, routes and forwarding are as they should be".to_owned(),
        ),
        Ok(found) => Part::unwell(NAME, counted(found.len(), "finding")),
        Err(error) => Part::unwell(NAME, error),
    }
}

fn policies(vnet: &VNetManager) -> Part {
    const NAME: &str = "policies";
    match read_files(&vnet.host.policy_dir) {
        Ok(rules) => Part::well(NAME, format!("{} rules of the host", rules.len())),
        Err(error) => Part::unwell(NAME, error.msg),
    }
}

fn operations(vnet: &VNetManager) -> Part {
    const NAME: &str = "operations";
    if !vnet.config.metrics_enabled {
        return Part::well(NAME, "not counted: metrics_enabled is false".to_owned());
    }
    let dir = vnet.host.store.dir();
    match counters(dir) {
        Ok(totals) => {
            let (calls, errors) = (totals.count(), totals.errors());
            let last = history(dir)
                .operations
                .into_iter()
                .rfind(|one| one.has_failed());
            let last = last.map_or_else(String::new, |one| {
                let time = output::date(one.began());
                format!(", the last at {time}: weft ops errors")
            });
            Part::well(NAME, format!("{calls} calls, {errors} errors{last}"))
        }
        Err(error) => Part::unwell(NAME, format!("{}: {error}", dir.display())),
    }
}

fn connections() -> Part {
    const NAME: &str = "connections";
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
        text.ok()?.trim().parse::<u64>().ok()
    };
    match (read("count"), read("max")) {
        (Some(count), Some(max)) => {
            let text = format!("{count} of {max} are tracked");
            match count.saturating_mul(10) >= max.saturating_mul(9) {
                true => Part::unwell(
                    NAME,
                    format!("{text}: sysctl -w net.netfilter.nf_conntrack_max"),
                ),
                false => Part::well(NAME, text),
            }
        }
        _ => Part::well(NAME, "none are tracked".to_owned()),
    }
}
