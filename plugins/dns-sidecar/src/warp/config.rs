//! The configuration manager: `[warp]` of weft.toml, `WEFT_WARP_*` over it, flags over both.

use anyhow::{Context, Result, bail};
use clap::Args;
use weft_cni::env::Env;
use weft_warp::{VARIABLES, WarpConfig};

/// Flags. Each counts before environment and file.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Flags {
    /// How Docker is reached: socket, http, ssl or none
    #[arg(long, value_name = "METHOD")]
    docker_connection_method: Option<String>,
    /// Docker's unix socket
    #[arg(long, value_name = "PATH")]
    docker_socket: Option<String>,
    /// HOST:PORT of Docker, for http and ssl
    #[arg(long, value_name = "HOST:PORT")]
    docker_host: Option<String>,
    /// The version of Docker's API, as 1.41; by default the newest that both sides know
    #[arg(long, value_name = "VERSION")]
    docker_api_version: Option<String>,
    /// The unix socket of Podman's service
    #[arg(long, value_name = "PATH")]
    podman_socket: Option<String>,
    /// Containers whose name matches this regular expression are gateways
    #[arg(long, value_name = "REGEX")]
    container_name_pattern: Option<String>,
    /// The label of targets
    #[arg(long, value_name = "LABEL")]
    target_container_label: Option<String>,
    /// The label of a target with the network that it meets its gateway in
    #[arg(long, value_name = "LABEL")]
    network_preference_label: Option<String>,
    /// What goes through the gateway: "10.0.0.0/8 tcp:443; ..." (default: all)
    #[arg(long, value_name = "RULES")]
    routing_rules: Option<String>,
    /// How much is said: error, warn, info or debug
    #[arg(long, value_name = "LEVEL")]
    logging: Option<String>,
    /// End with the process that has started this one
    #[arg(long, hide = true, value_name = "PID")]
    pub(super) with_parent: Option<i32>,
}

impl Flags {
    fn word(&self, key: &str) -> Option<String> {
        let flag = match key {
            "docker_connection_method" => &self.docker_connection_method,
            "docker.socket" => &self.docker_socket,
            "docker.host" => &self.docker_host,
            "docker.api_version" => &self.docker_api_version,
            "podman.socket" => &self.podman_socket,
            "warp_container_name_pattern" => &self.container_name_pattern,
            "target_container_label" => &self.target_container_label,
            "network_preference_label" => &self.network_preference_label,
            "routing_rules" => &self.routing_rules,
            "logging" => &self.logging,
            _ => return None,
        };
        flag.clone()
    }
}

/// Reads all three.
///
/// # Errors
/// The file, and everything that is wrong.
pub(crate) fn read(env: &Env, flags: &Flags) -> Result<WarpConfig> {
    let path = env.config_file();
    let text = match weft_cni::file::read_text(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let over = |key: &str| {
        let variable = VARIABLES.iter().find(|(known, _)| *known == key);
        let of_env = || variable.and_then(|(_, name)| env.get(&format!("WEFT_WARP_{name}")));
        flags.word(key).or_else(|| of_env().map(str::to_owned))
    };
    match WarpConfig::read(text.as_deref(), &over) {
        Ok(config) => Ok(config),
        Err(problems) => bail!("{}: {}", path.display(), problems.join("; ")),
    }
}
