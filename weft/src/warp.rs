//! `weft warp`: containers whose traffic goes through others.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use weft_api::daemon::{Done, Text, WarpLine, WarpRequest, WarpStatus, WarpWay, ask, warp_socket};
use weft_attach::doctor::{Finding, Symptom};
use weft_node::HostConfig;

use crate::cni::environment;
use crate::output::{self, Format, Table};
use crate::weftd;

/// The daemon may be busy with many containers.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show gateways, targets and runtimes. The exit status is 1 if a target that runs is not led
    Status(Status),
    /// Say which way a container's packets to a destination go, and why
    Explain(Explain),
    /// Tell whether the configuration can be understood, and what of it cannot work on this host
    Check(Check),
    /// Remove every rule and route of Weft's from containers, until `weft warp on` or a new start of the daemon
    Off,
    /// Put them back
    On,
    /// Have the daemon read weft.toml again
    Reload,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Its name, its id, or the beginning of that
    container: String,
    /// An IP address
    destination: IpAddr,
    /// tcp/443, udp/53, sctp/PORT, icmp
    #[arg(value_parser = protocol_and_port)]
    service: Option<(u8, Option<u16>)>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Flags of `weftd warp`, which count before environment and file
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

fn protocol_and_port(text: &str) -> Result<(u8, Option<u16>), String> {
    let (name, port) = match text.split_once('/') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let number = match name {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "icmpv6" => 58,
        "sctp" => 132,
        _ => return Err("must be tcp/PORT, udp/PORT, sctp/PORT, icmp or icmpv6".to_owned()),
    };
    let port = port.map(str::parse::<u16>).transpose();
    let port = port.map_err(|_| format!("{text:?}: the port must be 1 to 65535"))?;
    Ok((number, port))
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Status(status) => show(status),
        Verb::Explain(explain) => way(explain),
        Verb::Check(check) => {
            let mut command = weftd::command();
            command.args(["warp", "check"]).args(&check.flags);
            weftd::become_it(command)
        }
        Verb::Off => {
            let mut command = weftd::command();
            command.args(["warp", "off"]);
            weftd::become_it(command)
        }
        Verb::On => ask_one::<Done>(&WarpRequest::On).map(drop),
        Verb::Reload => ask_one::<Done>(&WarpRequest::Reload).map(drop),
    }
}

fn ask_one<T: DeserializeOwned>(request: &WarpRequest) -> Result<T> {
    use std::io::ErrorKind;
    let socket = warp_socket(&HostConfig::read(&environment())?.state_dir);
    let mut answer = None;
    let each = |one: T| {
        answer = Some(one);
        false
    };
    if let Err(error) = ask(&socket, request, Some(PATIENCE), each) {
        let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
        match () {
            () if is(&[ErrorKind::NotFound, ErrorKind::ConnectionRefused]) => bail!(
                "warp does not run: weftd runs it where weft.toml has a table [warp]; or run weftd warp"
            ),
            () if is(&[ErrorKind::InvalidInput]) => bail!("{error}"),
            () => return Err(error).with_context(|| socket.display().to_string()),
        }
    }
    answer.context("weftd has ended without an answer")
}

fn show(status: &Status) -> Result<()> {
    let all: WarpStatus = ask_one(&WarpRequest::Status)?;
    if !status.format.prints_json(&all)? {
        print(&all);
    }
    let wrong = (all.targets.iter())
        .filter(|one| matches!(one.state.as_str(), "closed" | "error"))
        .count();
    if wrong > 0 {
        bail!("{wrong} of {} targets are not led", all.targets.len());
    }
    Ok(())
}

fn print(all: &WarpStatus) {
    if all.is_off {
        output::line("warp is off: weft warp on puts rules and routes back");
    }
    for one in &all.sources {
        match (&one.error, &one.version) {
            (None, Some(version)) => output::line(&format!(
                "{}: {} answers, version {version} of its API",
                one.source, one.place
            )),
            (None, None) => output::line(&format!("{}: {} is read", one.source, one.place)),
            (Some(error), _) => output::line(&format!(
                "{}: {} is away (breaker {}): {error}",
                one.source, one.place, one.breaker
            )),
        }
    }
    let addresses = |one: &WarpLine| {
        let all: Vec<String> = one.addresses.iter().map(ToString::to_string).collect();
        all.join(",")
    };
    let mut gateways = Table::new(&[
        "GATEWAY",
        "SOURCE",
        "STATE",
        "FOR",
        "ADDRESSES",
        "OUT BY",
        "PROBLEM",
    ]);
    for one in &all.gateways {
        gateways.row([
            one.name.clone(),
            one.source.clone(),
            one.state.clone(),
            since(one),
            addresses(one),
            one.network.clone().unwrap_or_default(),
            one.problem.clone().unwrap_or_default(),
        ]);
    }
    gateways.print();
    let mut targets = Table::new(&[
        "TARGET", "SOURCE", "STATE", "FOR", "GATEWAY", "NETWORK", "NEXT HOP", "RULES", "PROBLEM",
    ]);
    for one in &all.targets {
        targets.row([
            one.name.clone(),
            one.source.clone(),
            one.state.clone(),
            since(one),
            one.gateway.clone().unwrap_or_default(),
            one.network.clone().unwrap_or_default(),
            addresses(one),
            one.rules.join("; "),
            problem(one),
        ]);
    }
    targets.print();
}

fn since(one: &WarpLine) -> String {
    match one.state.as_str() {
        "stopped" => String::new(),
        _ => humantime::format_duration(Duration::from_secs(one.seconds)).to_string(),
    }
}

fn problem(one: &WarpLine) -> String {
    let exposed = one.exposed_seconds.map(|seconds| {
        format!("it ran for {seconds} s before it was led: restart it if that matters")
    });
    let all: Vec<String> = one.problem.iter().cloned().chain(exposed).collect();
    all.join("; ")
}

fn way(explain: &Explain) -> Result<()> {
    let (protocol, port) = explain.service.unzip();
    let way: WarpWay = ask_one(&WarpRequest::Explain {
        container: explain.container.clone(),
        destination: explain.destination,
        protocol,
        port: port.flatten(),
    })?;
    if explain.format.prints_json(&way)? {
        return Ok(());
    }
    let to = explain.destination;
    let name = &way.container;
    match (way.way.as_str(), way.next_hop) {
        ("gateway", Some(hop)) => output::line(&format!(
            "{name} to {to}: by the gateway {}, {hop}",
            way.gateway.as_deref().unwrap_or("?")
        )),
        ("closed", _) => output::line(&format!("{name} to {to}: nowhere")),
        _ => output::line(&format!("{name} to {to}: as its own routes say")),
    }
    output::line(&format!("because {}", way.reason));
    Ok(())
}

/// What is counted, if warp runs.
pub(crate) fn metrics() -> String {
    let text: Result<Text> = ask_one(&WarpRequest::Metrics);
    text.map(|one| one.text).unwrap_or_default()
}

/// What keeps targets from being led; nothing where warp does not run.
pub(crate) fn findings() -> Vec<Finding> {
    let Ok(status) = ask_one::<WarpStatus>(&WarpRequest::Status) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut add = |text: String| found.push(Finding::new(Symptom::External, text));
    for one in &status.sources {
        if let Some(error) = &one.error {
            add(format!(
                "warp: {} is away, and its new containers are not led: {error}",
                one.source
            ));
        }
    }
    for one in status.targets.iter().chain(&status.gateways) {
        if one.state != "stopped" {
            let problem = problem(one);
            if !problem.is_empty() {
                add(format!("warp: container {}: {problem}", one.name));
            }
        }
    }
    found
}
