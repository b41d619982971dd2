//! `weftd warp check`: whether the configuration can be understood, and what of it cannot work on this host.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use weft_cni::env::Env;
use weft_warp::{Class, Classifier, Reference, WarpConfig};

use super::config::{Flags, read};
use super::http::{Api, Place, encoded};
use super::{facts, require_rights};

/// Prints a line for each finding; warnings fail nothing.
pub(super) async fn run(env: &Env, flags: &Flags) -> Result<()> {
    let config = read(env, flags)?;
    let path = env.config_file();
    say(&format!("{}: [warp] is understood", path.display()))?;
    if !config.is_enabled {
        say("warp is off: weft.toml has no table [warp], or enabled = false")?;
    }
    if let Err(error) = require_rights() {
        say(&format!("warning: {error}"))?;
    }
    for warning in of_host() {
        say(&format!("warning: {warning}"))?;
    }
    let mut unreachable = Vec::new();
    let docker = Place::of_docker(&config.docker)?.map(|place| ("docker", place));
    let podman = (config.podman.socket.clone()).map(|path| ("podman", Place::Socket(path)));
    for (name, place) in docker.into_iter().chain(podman) {
        match of_runtime(&config, &place).await {
            Ok(warnings) => {
                say(&format!("{name}: {place} answers"))?;
                for warning in warnings {
                    say(&format!("warning: {name}: {warning}"))?;
                }
            }
            Err(error) => unreachable.push(format!("{name}: {error:#}")),
        }
    }
    match unreachable.is_empty() {
        true => Ok(()),
        false => bail!("{}", unreachable.join("; ")),
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").context("standard output")
}

/// br_netfilter, where bridged packets pass the host's rules.
fn filters_bridged() -> bool {
    let read = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables");
    read.is_ok_and(|text| text.trim() == "1")
}

fn of_host() -> Vec<String> {
    let mut warnings = Vec::new();
    let text = std::fs::read_to_string(Path::new("/etc/resolv.conf")).unwrap_or_default();
    let loopback = (text.lines())
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .map(str::trim)
        .find(|server| server.starts_with("127.") || *server == "::1");
    if let Some(server) = loopback {
        warnings.push(format!(
            "/etc/resolv.conf names {server}: Docker asks such a server from the host, so that targets' questions for \
             names pass their gateway by; give dockerd, or the targets, another server (--dns)"
        ));
    }
    warnings
}

async fn of_runtime(config: &WarpConfig, place: &Place) -> Result<Vec<String>> {
    let api = Api::open(place, config.docker.api_version.as_deref()).await?;
    let mut warnings = Vec::new();
    let networks = api.get("/networks").await?;
    let list = networks.as_array().map(Vec::as_slice).unwrap_or_default();
    let internal: Vec<&str> = (list.iter())
        .filter(|one| one.get("Internal").and_then(Value::as_bool) == Some(true))
        .filter_map(|one| one.get("Name").and_then(Value::as_str))
        .collect();
    let containers = api.get("/containers/json?all=1").await?;
    let all = containers.as_array().map(Vec::as_slice).unwrap_or_default();
    for (id, _, listed) in all.iter().filter_map(facts::listed) {
        let name = &listed.name;
        match Classifier(config).class(&listed) {
            Class::Other => continue,
            Class::Broken(problems) => {
                warnings.push(format!("{name}: {}", problems.join("; ")));
            }
            Class::Gateway(_) => {}
            Class::Target(wish) => {
                warnings.extend(unmet(&wish.gateway, name, all));
            }
        }
        let path = format!("/containers/{}/json", encoded(&id));
        let inspected = api.get(&path).await.ok();
        let inspected = inspected.as_ref().and_then(facts::inspected);
        if let Some(of) = inspected.and_then(|one| one.borrows) {
            warnings.push(format!(
                "{name}: it has no namespace of its own, but that of {of} (--network): it cannot be led, and leads nobody"
            ));
        }
        if filters_bridged() {
            for network in listed.networks.keys() {
                if internal.contains(&network.as_str()) {
                    warnings.push(format!(
                        "{name}: network {network} is internal, and br_netfilter is on: the host drops what is sent to the \
                         gateway there; make the network without --internal, or set net.bridge.bridge-nf-call-iptables=0"
                    ));
                }
            }
        }
    }
    Ok(warnings)
}

/// That there is no container which a target names.
fn unmet(gateway: &Reference, name: &str, all: &[Value]) -> Option<String> {
    let mut listed = all.iter().filter_map(facts::listed);
    let is_there = listed.any(|(_, _, one)| gateway.is(&one));
    (!is_there).then(|| format!("{name}: there is no container {gateway}"))
}
