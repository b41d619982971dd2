//! Which networks reach each other.

use weft_cni::{CniError, Code, NetworkName};
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
        self.change_connections((from, to), is_one_way, true)
    }

    /// Takes that back. Connections that are no longer allowed end.
    ///
    /// # Errors
    /// They reach each other still, for their configurations say so; the kernel's and the store's.
    pub fn disconnect(
        &mut self,
        from: &str,
        to: &str,
        is_one_way: bool,
    ) -> Result<Connected, VNetError> {
        self.change_connections((from, to), is_one_way, false)
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
        if connects {
            self.refuse_unconnectable(&[from, to])?;
        }
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let mut pairs = vec![pair(from, to)];
        if !is_one_way {
            pairs.push(pair(to, from));
        }
        Connections::change(&self.host, |connections| {
            for pair in &pairs {
                if connects {
                    connections.connected.insert(pair.clone());
                } else {
                    connections.connected.remove(pair);
                }
            }
        })?;
        let ended = weft_firewall::apply(&mut self.host)?.ended;
        let reach = self.reach()?;
        let mut problems = Vec::new();
        let mut without_endpoints = Vec::new();
        for name in [from, to] {
            match reach.iter().find(|one| one.network == name) {
                Some(one) if one.isolation == "mesh" => {}
                Some(one) => problems.push(format!(
                    "network {name} has isolation {}: only isolation mesh can be connected",
                    one.isolation
                )),
                None => without_endpoints.push(name.to_owned()),
            }
        }
        let still = |(from, to): &&(String, String)| {
            let mut all = reach.iter();
            all.any(|one| one.network == *from && one.reaches.contains(to))
        };
        if !connects && let Some((from, to)) = pairs.iter().find(still) {
            problems.push(format!(
                "{from} still reaches {to}: they have a mesh or a parent in common, in their configurations"
            ));
        }
        match problems.is_empty() {
            true => Ok(Connected {
                ended,
                without_endpoints,
            }),
            false => Err(CniError::new(Code::InvalidConfig, problems.join("; ")).into()),
        }
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
