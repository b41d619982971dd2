//! All that policies derive from: rules, and networks that are connected.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use weft_cni::conf::{Fields, Problems};
use weft_cni::{CniError, Code};
use weft_node::{Host, WeftError};
use weft_store::NetworkRecord;

use super::files::read_files;
use super::networks::{Connections, pairs};
use super::read::of_network;
use super::rule::Rule;

/// What is in force, or is to be.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The rules of all files and networks.
    pub rules: Vec<Rule>,
    /// Interfaces of networks, ordered: the first may begin connections with the second.
    pub pairs: BTreeSet<(String, String)>,
}

impl State {
    /// Reads files and stores.
    pub fn read(host: &Host) -> Result<Self, WeftError> {
        let files = rules_of_files(host)?;
        let networks = host.networks()?;
        Self::of(files, &networks, &Connections::read(&host.data_dir)?)
    }

    /// Puts together rules of files, rules of networks and what is connected.
    ///
    /// # Errors
    /// Code 7 for a network's policy that cannot be read.
    pub fn of(
        files: Vec<Rule>,
        networks: &[(String, NetworkRecord)],
        connections: &Connections,
    ) -> Result<Self, WeftError> {
        let mut rules = files;
        for (name, network) in networks {
            rules.extend(network_rules(name, network)?);
        }
        Ok(Self {
            rules,
            pairs: pairs(networks, connections),
        })
    }

    /// Whether there is no rule, and nothing is connected.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.pairs.is_empty()
    }

    /// What tells it from others: fits an interface name, which is what the set of digests holds.
    pub fn digest(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        for rule in &self.rules {
            hash.update(rule.canonical());
            hash.update([0]);
        }
        for (from, to) in &self.pairs {
            hash.update(format!("{from}>{to}"));
            hash.update([0]);
        }
        let hex: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut digest = [0; 16];
        for (place, byte) in digest.iter_mut().zip(hex.bytes().take(15)) {
            *place = byte;
        }
        digest
    }
}

/// The rules of all files.
pub(super) fn rules_of_files(host: &Host) -> Result<Vec<Rule>, CniError> {
    let files = read_files(&host.policy_dir)?;
    Ok(files.into_iter().flat_map(|file| file.rules).collect())
}

/// The rules of a network's own policy.
pub(super) fn network_rules(name: &str, network: &NetworkRecord) -> Result<Vec<Rule>, CniError> {
    let Some(policy) = &network.policy else {
        return Ok(Vec::new());
    };
    let problems = Problems::default();
    let fields = Fields::open(policy, "policy", &problems);
    let rules = of_network(name, &fields);
    problems.into_result(false).map_err(|error| {
        CniError::new(
            Code::InvalidConfig,
            format!("network {name}: {}", error.msg),
        )
    })?;
    Ok(rules)
}
