//! `weft cni`: the runtime's side of the protocol, with cnitool's environment.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use sha2::{Digest, Sha512};
use weft_cni::SpecVersion;
use weft_cni::env::Env;
use weft_cni::runtime::{Network, ResultCache, Sandbox, load};

use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Attach a container; prints the result
    Add(Container),
    /// Detach a container
    Del(Container),
    /// Compare an attachment with its result
    Check(Container),
    /// Collect what belongs to no valid attachment
    Gc {
        #[command(flatten)]
        network: NetworkArguments,
        /// Attachments that stay, as CONTAINERID/IFNAME; without any, only what is provably dead
        /// is collected
        #[arg(long = "valid", value_name = "ID/IFNAME")]
        valid: Vec<String>,
        /// No attachment is valid: collect everything of the network
        #[arg(long, conflicts_with = "valid")]
        all: bool,
    },
    /// Ask the plugins whether they are ready
    Status {
        #[command(flatten)]
        network: NetworkArguments,
    },
    /// Ask the plugins for the versions they speak
    Version {
        #[command(flatten)]
        network: NetworkArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NetworkArguments {
    /// The network's name
    network: String,
    /// Directory with network configurations
    #[arg(long, env = "NETCONFPATH", default_value = "/etc/cni/net.d")]
    conf_dir: PathBuf,
    /// Directories with plugins, separated by ':'
    #[arg(long, env = "CNI_PATH", default_value = "/opt/cni/bin")]
    path: String,
    /// Directory of the result cache
    #[arg(long, env = "WEFT_CACHE_DIR", default_value = "/var/lib/cni")]
    cache_dir: PathBuf,
    /// Play a runtime that knows no newer version than this
    #[arg(long, value_name = "VERSION")]
    max_version: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Container {
    #[command(flatten)]
    network: NetworkArguments,
    /// Path of the container's network namespace
    #[arg(default_value = "")]
    netns: String,
    /// The interface's name in the container
    #[arg(long, short, env = "CNI_IFNAME", default_value = "eth0")]
    ifname: String,
    /// The container's id [default: derived from the namespace's path, as cnitool does]
    #[arg(long)]
    container_id: Option<String>,
    /// Arguments for the plugins, as KEY=VALUE;KEY=VALUE
    #[arg(long, env = "CNI_ARGS", default_value = "")]
    args: String,
    /// Capability arguments as a JSON object
    #[arg(long, env = "CAP_ARGS", default_value = "")]
    cap_args: String,
}

impl NetworkArguments {
    fn open(&self) -> Result<Network> {
        let newest = match &self.max_version {
            None => SpecVersion::NEWEST,
            Some(text) => SpecVersion::from_literal(text).with_context(|| {
                format!("--max-version {text}: one of {}", SpecVersion::supported())
            })?,
        };
        Ok(Network {
            list: load(&self.conf_dir, &self.network, newest)?,
            path: std::env::split_paths(&self.path).collect(),
            cache: ResultCache::new(&self.cache_dir),
            variables: Vec::new(),
        })
    }
}

impl Container {
    fn sandbox(&self) -> Result<Sandbox> {
        let capability_args: Map<String, Value> = match self.cap_args.as_str() {
            "" => Map::new(),
            text => serde_json::from_str(text).context("CAP_ARGS is not a JSON object")?,
        };
        if self.netns.is_empty() && self.container_id.is_none() {
            bail!("give the network namespace's path, or --container-id");
        }
        Ok(Sandbox {
            container_id: self
                .container_id
                .clone()
                .unwrap_or_else(|| default_id(&self.netns)),
            netns: self.netns.clone(),
            ifname: self.ifname.clone(),
            args: self.args.clone(),
            capability_args,
        })
    }
}

/// cnitool's: the start of the SHA-512 of the absolute path.
pub(crate) fn default_id(netns: &str) -> String {
    let absolute = std::path::absolute(Path::new(netns)).unwrap_or_else(|_| netns.into());
    let digest = Sha512::digest(absolute.display().to_string().as_bytes());
    let hex: String = digest
        .iter()
        .take(10)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("cnitool-{hex}")
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Add(container) => {
            let result = container.network.open()?.add(&container.sandbox()?)?;
            output::line(&serde_json::to_string_pretty(&result)?);
        }
        Verb::Del(container) => container.network.open()?.del(&container.sandbox()?)?,
        Verb::Check(container) => container.network.open()?.check(&container.sandbox()?)?,
        Verb::Gc {
            network,
            valid,
            all,
        } => collect(network, valid, *all)?,
        Verb::Status { network } => network.open()?.status()?,
        Verb::Version { network } => {
            for (plugin, answer) in network.open()?.version()? {
                output::line(&format!("{plugin} {answer}"));
            }
        }
    }
    Ok(())
}

fn collect(network: &NetworkArguments, valid: &[String], all: bool) -> Result<()> {
    let pairs = valid
        .iter()
        .map(|pair| {
            let (id, ifname) = pair
                .split_once('/')
                .with_context(|| format!("--valid {pair}: must be CONTAINERID/IFNAME"))?;
            Ok((id.to_owned(), ifname.to_owned()))
        })
        .collect::<Result<Vec<_>>>()?;
    let known = (all || !pairs.is_empty()).then_some(pairs.as_slice());
    network.open()?.gc(known)?;
    Ok(())
}

/// The environment, for the commands that work on Weft's own state.
pub(crate) fn environment() -> Env {
    Env::read()
}
