//! What is known of closed networks besides their attachments.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::changes::Change;
use crate::error::StoreError;
use crate::isolation::Isolation;
use crate::transaction::{Entry, Transaction, key, kind};

/// A closed network that has attachments, as its configuration describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkRecord {
    /// The interface that holds its gateway addresses.
    pub link: String,
    /// How closed it is.
    pub isolation: Isolation,
    /// The group of networks that reach each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<String>,
    /// The network that it and its siblings, but not each other, reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Its policy, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Map<String, Value>>,
}

impl Transaction<'_> {
    /// Remembers a network, unless that is known already.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn put_network(&mut self, name: &str, network: &NetworkRecord) -> Result<(), StoreError> {
        let key = key(kind::NETWORK, &[], name.as_bytes());
        if self.get::<NetworkRecord>(&key)?.as_ref() == Some(network) {
            return Ok(());
        }
        self.put(key, network)?;
        let name = name.to_owned();
        self.log_change(&Change::Network { name })
    }

    /// Forgets a network.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn remove_network(&mut self, name: &str) -> Result<(), StoreError> {
        let key = key(kind::NETWORK, &[], name.as_bytes());
        if self.get_bytes(&key)?.is_none() {
            return Ok(());
        }
        self.delete(key);
        let name = name.to_owned();
        self.log_change(&Change::NetworkRemoved { name })
    }

    /// The networks that are known, by name.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn networks(&self) -> Result<Vec<(String, NetworkRecord)>, StoreError> {
        let entries = self.scan(&[kind::NETWORK])?;
        let network = |(key, value): &Entry| {
            let name = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
            Ok((name, self.decode(key, value)?))
        };
        entries.iter().map(network).collect()
    }
}
