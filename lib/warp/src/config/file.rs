//! What the file says, and the words of environment and flags for its keys.

use std::path::PathBuf;

use serde::Deserialize;

use super::{ConnectionMethod, Ipv6, Logging, OnMissing};
use crate::rule::RoutingRule;

/// What the file says, and what the words of environment and flags are read into.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) enabled: Option<bool>,
    pub(super) docker_connection_method: Option<ConnectionMethod>,
    pub(super) warp_container_name_pattern: Option<String>,
    pub(super) warp_container_label: Option<String>,
    pub(super) target_container_label: Option<String>,
    pub(super) network_preference_label: Option<String>,
    pub(super) routing_rules: Option<Vec<Rule>>,
    pub(super) ipv6: Option<Ipv6>,
    pub(super) on_missing: Option<OnMissing>,
    pub(super) wait_seconds: Option<u64>,
    pub(super) table: Option<u32>,
    pub(super) rule_priority: Option<u32>,
    pub(super) remove_at_stop: Option<bool>,
    pub(super) logging: Option<Logging>,
    #[serde(default)]
    pub(super) docker: Docker,
    #[serde(default)]
    pub(super) podman: Podman,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Docker {
    pub(super) socket: Option<PathBuf>,
    pub(super) host: Option<String>,
    pub(super) cert_dir: Option<PathBuf>,
    pub(super) api_version: Option<String>,
    pub(super) netns_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Podman {
    pub(super) socket: Option<PathBuf>,
    pub(super) netns_dir: Option<PathBuf>,
}

/// A rule as text, or as a table.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Rule {
    Text(String),
    Parts(Parts),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parts {
    #[serde(default)]
    destinations: Vec<String>,
    protocol: Option<String>,
    #[serde(default)]
    ports: Vec<PortText>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PortText {
    Number(u16),
    Range(String),
}

impl Rule {
    pub(super) fn read(&self) -> Result<RoutingRule, String> {
        let parts = match self {
            Self::Text(text) => return RoutingRule::parse(text),
            Self::Parts(parts) => parts,
        };
        let mut words = parts.destinations.clone();
        let ports: Vec<String> = (parts.ports.iter())
            .map(|one| match one {
                PortText::Number(number) => number.to_string(),
                PortText::Range(text) => text.clone(),
            })
            .collect();
        match (&parts.protocol, ports.is_empty()) {
            (Some(protocol), true) => words.push(protocol.clone()),
            (Some(protocol), false) => words.push(format!("{protocol}:{}", ports.join(","))),
            (None, false) => return Err("ports need a protocol: tcp, udp or sctp".to_owned()),
            (None, true) if words.is_empty() => words.push("all".to_owned()),
            (None, true) => {}
        }
        RoutingRule::parse(&words.join(" "))
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct File {
    pub(super) warp: Option<Table>,
}

impl Table {
    /// Takes a word of the environment or a flag for a key.
    pub(super) fn put(&mut self, key: &str, word: &str) -> Result<(), String> {
        let text = || Some(word.to_owned());
        match key {
            "enabled" => self.enabled = Some(boolean(word)?),
            "docker_connection_method" => {
                self.docker_connection_method = Some(match word {
                    "socket" => ConnectionMethod::Socket,
                    "http" => ConnectionMethod::Http,
                    "ssl" => ConnectionMethod::Ssl,
                    "none" => ConnectionMethod::None,
                    _ => return Err(format!("{word:?} must be socket, http, ssl or none")),
                });
            }
            "warp_container_name_pattern" => self.warp_container_name_pattern = text(),
            "warp_container_label" => self.warp_container_label = text(),
            "target_container_label" => self.target_container_label = text(),
            "network_preference_label" => self.network_preference_label = text(),
            "routing_rules" => {
                let rules = word.split(';').map(str::trim).filter(|one| !one.is_empty());
                self.routing_rules = Some(rules.map(|one| Rule::Text(one.to_owned())).collect());
            }
            "ipv6" => self.ipv6 = Some(Ipv6::parse(word)?),
            "on_missing" => self.on_missing = Some(OnMissing::parse(word)?),
            "wait_seconds" => {
                let seconds = word
                    .parse()
                    .map_err(|_| format!("{word:?} must be a number"));
                self.wait_seconds = Some(seconds?);
            }
            "logging" => {
                self.logging = Some(match word {
                    "error" => Logging::Error,
                    "warn" => Logging::Warn,
                    "info" => Logging::Info,
                    "debug" => Logging::Debug,
                    _ => return Err(format!("{word:?} must be error, warn, info or debug")),
                });
            }
            "docker.socket" => self.docker.socket = Some(word.into()),
            "docker.host" => self.docker.host = text(),
            "docker.cert_dir" => self.docker.cert_dir = Some(word.into()),
            "docker.api_version" => self.docker.api_version = text(),
            "podman.socket" => self.podman.socket = Some(word.into()),
            _ => return Err("is no key of [warp]".to_owned()),
        }
        Ok(())
    }
}

fn boolean(word: &str) -> Result<bool, String> {
    match word {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{word:?} must be true or false")),
    }
}
