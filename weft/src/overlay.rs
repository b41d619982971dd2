//! `weft overlay`: networks over several hosts, as the daemon has them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use weft_api::daemon::{
    Control, DnsRequest, OverlayLine, PeerLine, PeerRouteLine, StepLine, ask, control_socket,
    dns_socket, overlays_file,
};
use weft_attach::doctor::{Finding, Symptom};
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
    /// Print a network for libvirt: virtual machines on an overlay's bridge
    LibvirtXml(LibvirtXml),
    /// Remove all that was made for them, until they are applied again or the daemon is started anew
    Down,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct LibvirtXml {
    /// The overlay: its VXLAN device's name, or its VNI
    overlay: String,
    /// Define it, start it, and have it started with the host, by virsh
    #[arg(long)]
    define: bool,
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
        Verb::LibvirtXml(which) => libvirt_xml(which),
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

/// What keeps overlays from being as they should be; nothing on a host without any.
pub(crate) fn findings(state_dir: &Path) -> Vec<Finding> {
    let file = std::fs::read(overlays_file(state_dir)).unwrap_or_default();
    let lines: Vec<OverlayLine> = serde_json::from_slice(&file).unwrap_or_default();
    if lines.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut add =
        |symptom, text: String| found.push(Finding::new(symptom, format!("overlay {text}")));
    let mut now = Vec::new();
    let each = |one: OverlayLine| {
        now.push(one);
        true
    };
    let asked = ask(
        &control_socket(state_dir),
        &Control::Overlays,
        Some(PATIENCE),
        each,
    );
    if let Err(error) = asked.map_err(explained) {
        let names: Vec<&str> = lines.iter().map(|one| one.name.as_str()).collect();
        add(
            Symptom::BetweenContainers,
            format!("{}: is not kept: {error}", names.join(", ")),
        );
        return found;
    }
    for one in &now {
        for text in &one.troubles {
            add(Symptom::BetweenContainers, format!("{}: {text}", one.name));
        }
    }
    if now
        .iter()
        .any(|one| one.control.as_deref() == Some("insecure"))
    {
        add(
            Symptom::State,
            "hosts speak with each other in clear, and believe whoever reaches the port: [security.control_plane] tls, by weft pki"
                .to_owned(),
        );
    }
    let mut peers = Vec::new();
    let each = |one: PeerLine| {
        peers.push(one);
        true
    };
    // Without it nothing is known of other hosts, which is said above if it matters.
    let _ = ask(
        &dns_socket(state_dir),
        &DnsRequest::Peers,
        Some(PATIENCE),
        each,
    );
    for one in peers {
        if one.state != "up" {
            add(
                Symptom::BetweenContainers,
                format!("peer {} is {}", one.id, one.state),
            );
        }
        for text in remarks(&one) {
            add(Symptom::BetweenContainers, format!("peer {text}"));
        }
    }
    found
}

/// A network as libvirt's format has it: formatnetwork, "Using an existing host bridge".
fn libvirt_xml(which: &LibvirtXml) -> Result<()> {
    let name = &which.overlay;
    let all = all_of::<OverlayLine>(Control::Overlays)?;
    let is_meant = |one: &&OverlayLine| one.name == *name || one.vni.to_string() == *name;
    let Some(one) = all.iter().find(is_meant) else {
        bail!("there is no overlay {name}: weft overlay ls lists them");
    };
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('\'', "&apos;")
    };
    let network = format!("weft-{}", escaped(&one.name));
    let xml = format!(
        "<network>\n  <name>{network}</name>\n  <forward mode='bridge'/>\n  <bridge name='{}'/>\n  <mtu size='{}'/>\n</network>\n",
        escaped(&one.bridge),
        one.mtu
    );
    if !which.define {
        output::line(xml.trim_end());
        return Ok(());
    }
    virsh(&["net-define", "/dev/stdin"], &xml)?;
    virsh(&["net-autostart", &network], "")?;
    virsh(&["net-start", &network], "")
}

/// Runs it with a text as its standard input.
fn virsh(words: &[&str], input: &str) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a command of people, no plugin")]
    let mut command = Command::new("virsh");
    let mut child = command
        .args(words)
        .stdin(Stdio::piped())
        .spawn()
        .context("virsh cannot be run: without --define the network is printed")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context("virsh")?;
    }
    let status = child.wait().context("virsh")?;
    match status.success() {
        true => Ok(()),
        false => bail!("virsh {}: {status}", words.join(" ")),
    }
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
