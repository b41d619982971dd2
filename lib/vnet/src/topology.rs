//! Which networks reach each other.

use std::time::Instant;

use weft_cni::NetworkName;
use weft_firewall::policy::{Connections, reachable_networks};

use crate::error::VNetError;
use crate::isolation::IsolationMode;
use crate::vnet_manager::VNetManager;

/// What a change of connections has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connected {
    /// Connections that are no longer allowed and have ended.
    pub ended: usize,
    /// The networks of the two that have no endpoints that are closed: it counts once they have.
    pub without_endpoints: Vec<String>,
    /// After a disconnection: the first still reaches the second, because their configurations have a mesh or a parent in
    /// common.
    pub still: Option<(String, String)>,
}

/// A network and what it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The network's name.
    pub network: String,
    /// The interface of the host that its containers are behind.
    pub link: String,
    /// How closed it is.
    pub isolation: String,
    /// Other networks whose containers its own may begin connections with.
    pub reaches: Vec<String>,
}

impl VNetManager {
    /// Lets two networks of isolation mesh reach each other, now and after a reboot; or only the second by the first.
    ///
    /// # Errors
    /// A network of another isolation; the kernel's and the store's.
    pub fn connect(
        &mut self,
        from: &str,
        to: &str,
        is_one_way: bool,
    ) -> Result<Connected, VNetError> {
        let start = Instant::now();
        let outcome = self.change_connections((from, to), is_one_way, true);
        self.note("CONNECT", from, start, outcome.as_ref().err());
        outcome
    }

    /// Takes that back. Connections that are no longer allowed end.
    ///
    /// # Errors
    /// The kernel's and the store's.
    pub fn disconnect(
        &mut self,
        from: &str,
        to: &str,
        is_one_way: bool,
    ) -> Result<Connected, VNetError> {
        let start = Instant::now();
        let outcome = self.change_connections((from, to), is_one_way, false);
        self.note("DISCONNECT", from, start, outcome.as_ref().err());
        outcome
    }

    fn change_connections(
        &mut self,
        (from, to): (&str, &str),
        is_one_way: bool,
        connects: bool,
    ) -> Result<Connected, VNetError> {
        for name in [from, to] {
            NetworkName::try_from(name).map_err(|error| VNetError::Invalid {
                what: format!("network {name:?}"),
                why: error.rule.to_owned(),
            })?;
        }
        if from == to {
            return Err(VNetError::Invalid {
                what: format!("network {from}"),
                why: "reaches itself already".to_owned(),
            });
        }
        let _lock = self.lock()?;
        if connects {
            self.refuse_unconnectable(&[from, to])?;
        }
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let mut pairs = vec![pair(from, to)];
        if !is_one_way {
            pairs.push(pair(to, from));
        }
        let before = Connections::read(&self.host.data_dir)?;
        Connections::change(&self.host, |connections| {
            for pair in &pairs {
                if connects {
                    connections.connected.insert(pair.clone());
                } else {
                    connections.connected.remove(pair);
                }
            }
        })?;
        let applied = weft_firewall::apply(&mut self.host);
        if applied.is_err() {
            Connections::change(&self.host, |connections| *connections = before)?;
        }
        let ended = applied?.ended;
        let reach = self.reach()?;
        let mut without_endpoints = vec![from.to_owned(), to.to_owned()];
        without_endpoints.retain(|name| reach.iter().all(|one| one.network != *name));
        let reaches = |(from, to): &&(String, String)| {
            let mut all = reach.iter();
            all.any(|one| one.network == *from && one.reaches.contains(to))
        };
        Ok(Connected {
            ended,
            without_endpoints,
            still: pairs
                .iter()
                .find(|pair| !connects && reaches(pair))
                .cloned(),
        })
    }

    /// Nothing is remembered of networks whose configurations say that they are not to be connected.
    fn refuse_unconnectable(&self, names: &[&str]) -> Result<(), VNetError> {
        for network in self.networks()? {
            let mode = network.isolation_mode;
            if names.contains(&network.name.as_str()) && mode != IsolationMode::MeshOnly {
                return Err(VNetError::Invalid {
                    what: format!("network {}", network.name),
                    why: format!(
                        "has isolation {mode}: only isolation mesh can be connected; weft network update --isolation \
                         mesh {} changes it while it has no endpoints",
                        network.name
                    ),
                });
            }
        }
        Ok(())
    }

    /// Forgets what a network that is gone was connected with.
    pub(crate) fn forget_connections(&mut self, name: &str) -> Result<(), VNetError> {
        let is_its = |(from, to): &(String, String)| from == name || to == name;
        let known = Connections::read(&self.host.data_dir)?;
        if !known.connected.iter().any(is_its) {
            return Ok(());
        }
        Connections::change(&self.host, |connections| {
            connections.connected.retain(|pair| !is_its(pair));
        })?;
        weft_firewall::apply(&mut self.host)?;
        Ok(())
    }

    /// The closed networks that have endpoints, and what they reach.
    ///
    /// # Errors
    /// The store's.
    pub fn reach(&self) -> Result<Vec<Reach>, VNetError> {
        let all = reachable_networks(&self.host)?;
        let reach =
            |(network, record, reaches): (String, weft_store::NetworkRecord, Vec<String>)| Reach {
                network,
                link: record.link,
                isolation: record.isolation.to_string(),
                reaches,
            };
        Ok(all.into_iter().map(reach).collect())
    }
}
