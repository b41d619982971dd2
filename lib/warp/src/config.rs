//! The table `[warp]` of weft.toml, environment and flags over it.

mod file;

use std::path::PathBuf;
use std::time::Duration;

use regex_lite::Regex;
use serde::Deserialize;

use crate::rule::{RoutingRule, require_few};
use file::{Docker, File, Rule, Table};

/// How Docker is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionMethod {
    /// A unix socket.
    #[default]
    Socket,
    /// TCP, in clear.
    Http,
    /// TCP with TLS and certificates of both sides.
    Ssl,
    /// Docker is not asked.
    None,
}

/// What happens to IPv6 where a gateway has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipv6 {
    /// It goes nowhere.
    #[default]
    Block,
    /// It goes as it would without Weft.
    Keep,
}

/// What is sent from the number of a published port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answers {
    /// It goes as it would without Weft: the port is answered.
    #[default]
    Direct,
    /// It is led, as everything else.
    Led,
}

impl Answers {
    /// Reads it.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "direct" => Ok(Self::Direct),
            "led" => Ok(Self::Led),
            _ => Err(format!("{text:?} must be direct or led")),
        }
    }
}

/// What happens to a target's packets while there is no gateway for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMissing {
    /// They go nowhere.
    #[default]
    Block,
    /// They go as they would without Weft.
    Direct,
    /// They go nowhere, and an ADD of weft-warp waits for the gateway.
    Wait,
}

impl Ipv6 {
    /// Reads it.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "block" => Ok(Self::Block),
            "keep" => Ok(Self::Keep),
            _ => Err(format!("{text:?} must be block or keep")),
        }
    }
}

impl OnMissing {
    /// Reads it.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "block" => Ok(Self::Block),
            "direct" => Ok(Self::Direct),
            "wait" => Ok(Self::Wait),
            _ => Err(format!("{text:?} must be block, direct or wait")),
        }
    }
}

/// How much the daemon says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the levels of the log")]
pub enum Logging {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// How it is reached.
    pub method: ConnectionMethod,
    /// Its unix socket.
    pub socket: PathBuf,
    /// HOST:PORT, for `http` and `ssl`.
    pub host: String,
    /// The directory with `ca.pem`, `cert.pem` and `key.pem`, for `ssl`.
    pub certificates: PathBuf,
    /// A version such as 1.41; none: the newest that both sides know.
    pub api_version: Option<String>,
    /// Where the namespaces of its containers are.
    pub netns_dir: PathBuf,
}

/// Podman.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodmanConfig {
    /// The unix socket of its service; none: it is not asked.
    pub socket: Option<PathBuf>,
    /// Where the namespaces of its containers are.
    pub netns_dir: PathBuf,
}

/// How traffic of containers is led through others.
#[derive(Debug, Clone)]
pub struct WarpConfig {
    /// There is the table, and it does not say otherwise.
    pub is_enabled: bool,
    /// Containers with such a name are gateways.
    pub name_pattern: Option<Regex>,
    /// Containers with this label are.
    pub gateway_label: String,
    /// Containers with this label are targets; its value says by which gateway.
    pub target_label: String,
    /// The label of a target with the network that it meets its gateway in, where there are several.
    pub network_label: String,
    /// What goes through the gateway, unless the target says otherwise.
    pub rules: Vec<RoutingRule>,
    /// What happens to IPv6 where the gateway has none.
    pub ipv6: Ipv6,
    /// What happens while there is no gateway.
    pub on_missing: OnMissing,
    /// How long an ADD waits for one.
    pub wait: Duration,
    /// The routing table of targets.
    pub table: u32,
    /// The first of three priorities of routing rules.
    pub priority: u32,
    /// Rules and routes go when the daemon stops.
    pub remove_at_stop: bool,
    /// How much the daemon says.
    pub logging: Logging,
    /// Docker.
    pub docker: DockerConfig,
    /// Podman.
    pub podman: PodmanConfig,
}

/// A key of the table and the word for it in the environment, behind `WEFT_WARP_`.
pub const VARIABLES: [(&str, &str); 16] = [
    ("enabled", "ENABLED"),
    ("docker_connection_method", "DOCKER_CONNECTION_METHOD"),
    ("warp_container_name_pattern", "CONTAINER_NAME_PATTERN"),
    ("warp_container_label", "CONTAINER_LABEL"),
    ("target_container_label", "TARGET_CONTAINER_LABEL"),
    ("network_preference_label", "NETWORK_PREFERENCE_LABEL"),
    ("routing_rules", "ROUTING_RULES"),
    ("ipv6", "IPV6"),
    ("on_missing", "ON_MISSING"),
    ("wait_seconds", "WAIT_SECONDS"),
    ("logging", "LOGGING"),
    ("docker.socket", "DOCKER_SOCKET"),
    ("docker.host", "DOCKER_HOST"),
    ("docker.cert_dir", "DOCKER_CERT_DIR"),
    ("docker.api_version", "DOCKER_API_VERSION"),
    ("podman.socket", "PODMAN_SOCKET"),
];

const DEFAULT_TABLE: u32 = 77;
const DEFAULT_PRIORITY: u32 = 98;
const LONGEST_WAIT: u64 = 300;

impl Default for WarpConfig {
    fn default() -> Self {
        Self {
            is_enabled: false,
            name_pattern: Regex::new("^warp-").ok(),
            gateway_label: "weft.warp.gateway".to_owned(),
            target_label: "weft.warp.via".to_owned(),
            network_label: "weft.warp.network".to_owned(),
            rules: vec![RoutingRule::default()],
            ipv6: Ipv6::Block,
            on_missing: OnMissing::Block,
            wait: Duration::from_secs(10),
            table: DEFAULT_TABLE,
            priority: DEFAULT_PRIORITY,
            remove_at_stop: false,
            logging: Logging::Info,
            docker: DockerConfig {
                method: ConnectionMethod::Socket,
                socket: "/var/run/docker.sock".into(),
                host: "127.0.0.1:2375".to_owned(),
                certificates: "/etc/docker/certs".into(),
                api_version: None,
                netns_dir: "/var/run/docker/netns".into(),
            },
            podman: PodmanConfig {
                socket: None,
                netns_dir: "/run/netns".into(),
            },
        }
    }
}

impl WarpConfig {
    /// Reads the text of weft.toml, if there is one; `over` gives the words of flags and environment for a key.
    ///
    /// # Errors
    /// Every key that is wrong, with the reason; of the file, the line.
    pub fn read(
        text: Option<&str>,
        over: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<String>> {
        let file: File = match text {
            Some(text) => toml::from_str(text)
                .map_err(|error| vec![error.to_string().trim_end().to_owned()])?,
            None => File::default(),
        };
        let has_table = file.warp.is_some();
        let mut problems = Vec::new();
        let mut table = file.warp.unwrap_or_default();
        for (key, _) in VARIABLES {
            if let Some(word) = over(key)
                && let Err(why) = table.put(key, &word)
            {
                problems.push(format!("{key}: {why}"));
            }
        }
        let is_enabled = table.enabled.unwrap_or(has_table);
        let config = Self {
            is_enabled,
            ..Self::of(table, &mut problems)
        };
        match problems.is_empty() {
            true => Ok(config),
            false => Err(problems),
        }
    }

    fn of(table: Table, problems: &mut Vec<String>) -> Self {
        let default = Self::default();
        let mut wrong = |key: &str, why: String| problems.push(format!("[warp] {key}: {why}"));
        let [gateway_label, target_label, network_label] = labels(&table, &default, &mut wrong);
        let name_pattern = match &table.warp_container_name_pattern {
            None => default.name_pattern,
            Some(text) if text.is_empty() => None,
            Some(text) => Regex::new(text)
                .map_err(|error| wrong("warp_container_name_pattern", error.to_string()))
                .ok(),
        };
        let number = table.table.unwrap_or(default.table);
        if number == 0 || (252..=255).contains(&number) {
            let why = format!("{number} is one of the kernel's own tables");
            wrong("table", why);
        }
        let priority = table.rule_priority.unwrap_or(default.priority);
        if !(1..=32_700).contains(&priority) {
            wrong("rule_priority", format!("{priority} must be 1 to 32700"));
        }
        let seconds = table.wait_seconds.unwrap_or(default.wait.as_secs());
        if seconds > LONGEST_WAIT {
            let why = format!("{seconds} must be 0 to {LONGEST_WAIT}");
            wrong("wait_seconds", why);
        }
        let rules = table
            .routing_rules
            .as_deref()
            .map_or(default.rules, |rules| routing_rules(rules, &mut wrong));
        let method = table.docker_connection_method;
        Self {
            is_enabled: false,
            name_pattern,
            gateway_label,
            target_label,
            network_label,
            rules,
            ipv6: table.ipv6.unwrap_or(default.ipv6),
            on_missing: table.on_missing.unwrap_or(default.on_missing),
            wait: Duration::from_secs(seconds),
            table: number,
            priority,
            remove_at_stop: table.remove_at_stop.unwrap_or(default.remove_at_stop),
            logging: table.logging.unwrap_or(default.logging),
            docker: docker(table.docker, method, default.docker, &mut wrong),
            podman: PodmanConfig {
                socket: table.podman.socket.or(default.podman.socket),
                netns_dir: table.podman.netns_dir.unwrap_or(default.podman.netns_dir),
            },
        }
    }
}

/// Those of gateways, of targets, and of networks.
fn labels(table: &Table, default: &WarpConfig, wrong: &mut dyn FnMut(&str, String)) -> [String; 3] {
    let all = [
        (
            "warp_container_label",
            &table.warp_container_label,
            &default.gateway_label,
        ),
        (
            "target_container_label",
            &table.target_container_label,
            &default.target_label,
        ),
        (
            "network_preference_label",
            &table.network_preference_label,
            &default.network_label,
        ),
    ];
    let labels = all.map(|(key, given, default)| {
        let label = given.as_ref().unwrap_or(default).clone();
        if label.is_empty() || label.contains(char::is_whitespace) {
            wrong(key, format!("{label:?} is no name of a label"));
        }
        label
    });
    let [gateway, target, network] = &labels;
    if gateway == target || network == target {
        let why = "has to be another label than the others".to_owned();
        wrong("target_container_label", why);
    }
    labels
}

fn routing_rules(given: &[Rule], wrong: &mut dyn FnMut(&str, String)) -> Vec<RoutingRule> {
    let mut rules = Vec::new();
    for one in given {
        match one.read() {
            Ok(rule) => rules.push(rule),
            Err(why) => wrong("routing_rules", why),
        }
    }
    if given.is_empty() {
        let why = "there is none: leave the key out for everything".to_owned();
        wrong("routing_rules", why);
    }
    if let Err(why) = require_few(&rules) {
        wrong("routing_rules", why);
    }
    rules
}

fn docker(
    given: Docker,
    method: Option<ConnectionMethod>,
    default: DockerConfig,
    wrong: &mut dyn FnMut(&str, String),
) -> DockerConfig {
    let host = given.host.unwrap_or(default.host);
    let host = host.strip_prefix("tcp://").unwrap_or(&host).to_owned();
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
    if !has_port {
        wrong("docker.host", format!("{host:?} must be HOST:PORT"));
    }
    let version = given.api_version.filter(|text| text != "auto");
    let is_version = |text: &String| {
        let parts = text.split_once('.');
        parts.is_some_and(|(major, minor)| {
            major.parse::<u16>().is_ok() && minor.parse::<u16>().is_ok()
        })
    };
    if let Some(text) = version.as_ref().filter(|text| !is_version(text)) {
        wrong(
            "docker.api_version",
            format!("{text:?} must be auto, or as 1.41"),
        );
    }
    DockerConfig {
        method: method.unwrap_or(default.method),
        socket: given.socket.unwrap_or(default.socket),
        host,
        certificates: given.cert_dir.unwrap_or(default.certificates),
        api_version: version,
        netns_dir: given.netns_dir.unwrap_or(default.netns_dir),
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;

    fn read(text: &str, over: &[(&str, &str)]) -> Result<WarpConfig, Vec<String>> {
        WarpConfig::read(Some(text), &|key| {
            let found = over.iter().find(|(name, _)| *name == key);
            found.map(|(_, word)| (*word).to_owned())
        })
    }

    #[test]
    fn the_table_switches_it_on() {
        assert!(!read("[dns]\nttl = 3\n", &[]).unwrap().is_enabled);
        assert!(read("[warp]\n", &[]).unwrap().is_enabled);
        assert!(!read("[warp]\nenabled = false\n", &[]).unwrap().is_enabled);
        assert!(read("", &[("enabled", "true")]).unwrap().is_enabled);
    }

    #[test]
    fn every_key_is_read_and_words_count_before_the_file() {
        let text = r#"
            [warp]
            docker_connection_method = "ssl"
            warp_container_name_pattern = "vpn$"
            target_container_label = "a.b"
            network_preference_label = "c"
            routing_rules = ["10.0.0.0/8 tcp:443", { destinations = ["192.0.2.0/24"], protocol = "udp", ports = [53, "60-70"] }]
            ipv6 = "keep"
            on_missing = "wait"
            logging = "debug"
            [warp.docker]
            socket = "/x"
            host = "tcp://h:1"
            api_version = "1.41"
        "#;
        let over = [("ipv6", "block"), ("docker.socket", "/y")];
        let config = read(text, &over).unwrap();
        let rules: Vec<String> = config.rules.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["10.0.0.0/8 tcp:443", "192.0.2.0/24 udp:53,60-70"]);
        assert_eq!(
            (config.ipv6, config.on_missing),
            (Ipv6::Block, OnMissing::Wait)
        );
        assert_eq!(config.docker.socket, PathBuf::from("/y"));
        assert_eq!(config.docker.host, "h:1");
        assert!(config.name_pattern.unwrap().is_match("my-vpn"));
        for (key, _) in VARIABLES {
            // Each of them is known.
            let problems = read("", &[(key, "\u{1}")]).err().unwrap_or_default();
            assert!(!problems.concat().contains("is no key"), "{problems:?}");
        }
    }

    #[test]
    fn variables_are_read_from_the_environment() {
        for (_, name) in VARIABLES {
            let name = format!("WEFT_WARP_{name}");
            let env = weft_cni::env::Env::from_pairs([(name.as_str(), "x")]);
            assert_eq!(env.get(&name), Some("x"), "{name}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let text = "[warp]\nwarp_container_name_pattern = \"(\"\ntable = 254\nrouting_rules = [\"x\"]\n[warp.docker]\nhost = \"x\"\n";
        let problems = read(text, &[("ipv6", "maybe")]).unwrap_err();
        for part in [
            "ipv6",
            "name_pattern",
            "table",
            "routing_rules",
            "docker.host",
        ] {
            assert!(
                problems.iter().any(|one| one.contains(part)),
                "{problems:?}"
            );
        }
        let problems = read("[warp]\ntargets = 3\n", &[]).unwrap_err();
        assert!(problems.concat().contains("targets"), "{problems:?}");
    }
}
