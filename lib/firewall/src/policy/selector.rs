//! Whom a rule is about: containers by network, name and labels, or addresses.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_store::AttachmentRecord;

/// One side of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// As the source everybody; as the destination everybody outside, neither the host nor a container of
    /// a closed network: whose doors are opened is named.
    Any,
    /// Addresses, whoever has them.
    Addresses(Vec<IpNetwork>),
    /// Containers for which all of these hold.
    Endpoints(Endpoints),
}

/// What containers have to be like.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoints {
    /// Their network.
    pub network: Option<String>,
    /// Their name, or container id.
    pub name: Option<String>,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
}

impl Endpoints {
    /// Whether an attachment is meant.
    pub fn matches(&self, record: &AttachmentRecord) -> bool {
        let is_network = |network: &String| record.id.network.as_str() == network;
        let is_name = |name: &String| {
            record.name.as_ref() == Some(name) || record.id.container_id.as_str() == name
        };
        self.network.as_ref().is_none_or(is_network)
            && self.name.as_ref().is_none_or(is_name)
            && self
                .labels
                .iter()
                .all(|(key, value)| record.labels.get(key) == Some(value))
    }
}

impl Selector {
    /// Whether an address, of this attachment if it is one's, is meant.
    pub fn covers(&self, address: IpAddr, record: Option<&AttachmentRecord>) -> bool {
        match self {
            Self::Any => true,
            Self::Addresses(networks) => networks.iter().any(|one| one.contains(address)),
            Self::Endpoints(endpoints) => record.is_some_and(|record| endpoints.matches(record)),
        }
    }
}

/// As `weft policy` shows it; equal selectors have equal texts.
impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        match self {
            Self::Any => words.push("any".to_owned()),
            Self::Addresses(networks) => words.extend(networks.iter().map(ToString::to_string)),
            Self::Endpoints(endpoints) => {
                let network = endpoints.network.iter();
                words.extend(network.map(|network| format!("network {network}")));
                words.extend(endpoints.name.iter().map(|name| format!("name {name}")));
                let labels = endpoints.labels.iter();
                words.extend(labels.map(|(key, value)| format!("label {key}={value}")));
            }
        }
        f.write_str(&words.join(", "))
    }
}
