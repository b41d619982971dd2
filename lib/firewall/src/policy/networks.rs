//! Networks that reach each other: by a group, by their parent, or because they were connected
//! them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weft_cni::{CniError, Code, file};
use weft_node::{Host, WeftError};
use weft_store::{Isolation, NetworkRecord, Sharing};

/// What `weft network connect` has been told; it outlives a reboot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Pairs of networks, by name: the first may begin connections with the second.
    pub connected: BTreeSet<(String, String)>,
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("connections.json")
}

impl Connections {
    /// Reads what is known; no file is nothing.
    ///
    /// # Errors
    /// Code 5 with the file.
    pub fn read(data_dir: &Path) -> Result<Self, CniError> {
        let path = file(data_dir);
        let text = match file::read_own(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            outcome => outcome.map_err(|error| failure(&path, &error))?,
        };
        serde_json::from_slice(&text).map_err(|error| failure(&path, &error))
    }

    /// Changes what is known; other processes that do so wait.
    ///
    /// # Errors
    /// Code 5 with the file.
    pub fn change(host: &Host, work: impl FnOnce(&mut Self)) -> Result<(), WeftError> {
        let _lock = host.store.named_lock("connections", Sharing::Exclusive)?;
        let mut connections = Self::read(&host.data_dir)?;
        work(&mut connections);
        Ok(connections.write(&host.data_dir)?)
    }

    /// Writes it, whole or not at all.
    fn write(&self, data_dir: &Path) -> Result<(), CniError> {
        let path = file(data_dir);
        let new = path.with_extension("new");
        let text = serde_json::to_vec_pretty(self).map_err(|error| failure(&path, &error))?;
        let write = || {
            file::make_own_dir(data_dir)?;
            file::replace_own(&path, &new, &text, true)
        };
        write().map_err(|error| failure(&path, &error))
    }
}

fn failure(path: &Path, error: &dyn std::fmt::Display) -> CniError {
    CniError::new(Code::Io, format!("{}: {error}", path.display()))
}

/// The interfaces of networks that reach each other, ordered. Only networks of isolation mesh take
/// part.
pub(super) fn pairs(
    networks: &[(String, NetworkRecord)],
    connections: &Connections,
) -> BTreeSet<(String, String)> {
    let open = |(name, one): &(String, NetworkRecord),
                (other_name, other): &(String, NetworkRecord)| {
        let is_mesh = one.mesh.is_some() && one.mesh == other.mesh;
        let is_parent =
            one.parent.as_ref() == Some(other_name) || other.parent.as_ref() == Some(name);
        let is_told = connections
            .connected
            .contains(&(name.clone(), other_name.clone()));
        is_mesh || is_parent || is_told
    };
    let takes_part = |(_, one): &&(String, NetworkRecord)| one.isolation == Isolation::Mesh;
    let mut pairs = BTreeSet::new();
    for one in networks.iter().filter(takes_part) {
        for other in networks.iter().filter(takes_part) {
            if one.1.link != other.1.link && open(one, other) {
                pairs.insert((one.1.link.clone(), other.1.link.clone()));
            }
        }
    }
    pairs
}

/// Every closed network with the names of those that it reaches.
///
/// # Errors
/// The stores', and code 5.
pub fn reachable_networks(
    host: &Host,
) -> Result<Vec<(String, NetworkRecord, Vec<String>)>, WeftError> {
    let networks = host.networks()?;
    let pairs = pairs(&networks, &Connections::read(&host.data_dir)?);
    let reached = |network: &NetworkRecord| {
        networks
            .iter()
            .filter(|(_, other)| pairs.contains(&(network.link.clone(), other.link.clone())))
            .map(|(name, _)| name.clone())
            .collect()
    };
    Ok(networks
        .iter()
        .map(|(name, network)| (name.clone(), network.clone(), reached(network)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, mesh: Option<&str>, parent: Option<&str>) -> (String, NetworkRecord) {
        let record = NetworkRecord {
            link: format!("br-{name}"),
            isolation: Isolation::Mesh,
            mesh: mesh.map(str::to_owned),
            parent: parent.map(str::to_owned),
            policy: None,
        };
        (name.to_owned(), record)
    }

    #[test]
    fn groups_parents_and_orders_connect() {
        let networks = [
            network("a", Some("m"), None),
            network("b", Some("m"), None),
            network("top", None, None),
            network("c", None, Some("top")),
            network("d", None, Some("top")),
        ];
        let connections = Connections {
            connected: BTreeSet::from([("a".to_owned(), "d".to_owned())]),
        };
        let found = pairs(&networks, &connections);
        let has =
            |from: &str, to: &str| found.contains(&(format!("br-{from}"), format!("br-{to}")));
        assert!(has("a", "b") && has("b", "a") && has("c", "top") && has("top", "d"));
        assert!(has("a", "d") && !has("d", "a") && !has("c", "d") && !has("a", "top"));
        assert_eq!(found.len(), 7);
    }
}
