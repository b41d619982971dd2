//! Why something could not be done with a network or an endpoint.

use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use weft_cni::CniError;
use weft_node::WeftError;
use weft_store::StoreError;

/// What failed, on what, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum VNetError {
    /// Something that was given cannot be.
    #[error("{what}: {why}")]
    Invalid {
        /// What was given.
        what: String,
        /// The rule that it breaks.
        why: String,
    },
    /// There is no such network.
    #[error("no network is called {name:?}; weft network ls lists those in {}", dir.display())]
    UnknownNetwork {
        /// What was asked for.
        name: String,
        /// Where configurations are.
        dir: PathBuf,
    },
    /// There is no such endpoint.
    #[error(
        "no endpoint has the id, container, name or address {text:?}; weft endpoint ls lists them"
    )]
    UnknownEndpoint {
        /// What was asked for.
        text: String,
    },
    /// There are several.
    #[error("{text:?} can be {}: give one of them", found.join(" or "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// What it can be.
        found: Vec<String>,
    },
    /// The name is taken.
    #[error("network {name} exists already: {}", file.display())]
    NetworkExists {
        /// The name.
        name: String,
        /// Its configuration.
        file: PathBuf,
    },
    /// There are as many networks as there may be.
    #[error(
        "there are {count} networks, and no more than {max} are allowed: remove some (weft network prune), or raise \
         max_networks below [vnet] in /etc/weft/weft.toml"
    )]
    TooManyNetworks {
        /// How many there are.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// The subnet is in use.
    #[error("subnet {subnet} overlaps {with}: give another one")]
    Overlap {
        /// What was asked for.
        subnet: IpNetwork,
        /// What is there.
        with: String,
    },
    /// All of the pool is in use.
    #[error(
        "no subnet of {size} is free in {pool}: give one with --subnet, or set {key} below [vnet] in \
         /etc/weft/weft.toml to a wider prefix"
    )]
    NoFreeSubnet {
        /// The pool.
        pool: IpNetwork,
        /// Its key in weft.toml.
        key: &'static str,
        /// As `/26`.
        size: String,
    },
    /// The network has endpoints.
    #[error("network {name} has {} ({}): {remedy}", counted(endpoints.len(), "endpoint"), listed(endpoints))]
    InUse {
        /// The network.
        name: String,
        /// Its endpoints.
        endpoints: Vec<String>,
        /// What to do.
        remedy: &'static str,
    },
    /// The network was not made by Weft.
    #[error(
        "network {name} was not made by weft: {what}, or remove {} by the program that made it",
        file.display()
    )]
    NotOurs {
        /// The network.
        name: String,
        /// What to do.
        what: &'static str,
        /// Its configuration.
        file: PathBuf,
    },
    /// A file.
    #[error("{} cannot be {action}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// `read`, `written`.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A plugin, the kernel or the store.
    #[error("{0}")]
    Cni(#[from] CniError),
}

/// A number with its word.
pub fn counted(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    }
}

/// The first few of them.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

impl VNetError {
    pub(crate) fn file(
        path: &Path,
        action: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File {
            path,
            action,
            source,
        }
    }
}

impl From<WeftError> for VNetError {
    fn from(error: WeftError) -> Self {
        Self::Cni(error.into())
    }
}

impl From<StoreError> for VNetError {
    fn from(error: StoreError) -> Self {
        WeftError::from(error).into()
    }
}
