//! Whom a rule is about: containers by network, name and labels, or addresses.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::json;
use sha2::{Digest, Sha256};
use weft_cni::IpFamily;
use weft_store::AttachmentRecord;

use crate::ruleset::MEMBERS;

/// What selectors ask of a container.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The name of the network it is attached to.
    pub network: &'a str,
    /// The runtime's id, whole.
    pub container_id: &'a str,
    /// What it is called, if that is known.
    pub name: Option<&'a str>,
    /// Labels of the pod, `namespace` among them.
    pub labels: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a AttachmentRecord> for Identity<'a> {
    fn from(record: &'a AttachmentRecord) -> Self {
        Self {
            network: record.id.network.as_str(),
            container_id: record.id.container_id.as_str(),
            name: record.name.as_deref(),
            labels: &record.labels,
        }
    }
}

/// One side of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// As the source every address; as the destination every address outside, neither the host nor a container of
    /// a closed network: whose doors are opened is named.
    Any,
    /// Addresses, of containers or not.
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
    /// Whether a container is meant.
    pub fn matches<'a>(&self, container: impl Into<Identity<'a>>) -> bool {
        let container = container.into();
        let is_network = |network: &String| container.network == network;
        let is_name =
            |name: &String| container.name == Some(name.as_str()) || container.container_id == name;
        self.network.as_ref().is_none_or(is_network)
            && self.name.as_ref().is_none_or(is_name)
            && self
                .labels
                .iter()
                .all(|(key, value)| container.labels.get(key) == Some(value))
    }
}

impl Selector {
    /// Names sets and chains in the kernel: of the canonical text.
    pub(super) fn digest(&self) -> String {
        let hash = Sha256::digest(self.canonical().as_bytes());
        hash.iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The text that names in the kernel are made of: the same for the same selector in every version of Weft, and
    /// another one for every other selector.
    pub(super) fn canonical(&self) -> String {
        match self {
            Self::Any => json!("any"),
            Self::Addresses(networks) => json!({ "addresses": networks }),
            Self::Endpoints(endpoints) => json!({
                "network": endpoints.network,
                "name": endpoints.name,
                "labels": endpoints.labels,
            }),
        }
        .to_string()
    }

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
/// The name of the set of a selector's members of one family.
pub(super) fn member_set_name(selector: &Selector, family: IpFamily) -> String {
    let family = match family {
        IpFamily::V4 => 4,
        IpFamily::V6 => 6,
    };
    format!("{MEMBERS}{}_{family}", selector.digest())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, label: Option<(&str, &str)>) -> Selector {
        let labels = label.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Selector::Endpoints(Endpoints {
            name: Some(name.to_owned()),
            labels: labels.into_iter().collect(),
            ..Endpoints::default()
        })
    }

    /// Sets in the kernel of a host that runs have these names.
    #[test]
    fn canonical_texts_stay_as_they_are() {
        for (selector, text) in [
            (Selector::Any, r#""any""#),
            (
                Selector::Addresses(vec!["10.0.0.0/8".parse().unwrap()]),
                r#"{"addresses":["10.0.0.0/8"]}"#,
            ),
            (
                named("web", Some(("app", "x"))),
                r#"{"labels":{"app":"x"},"name":"web","network":null}"#,
            ),
        ] {
            assert_eq!(selector.canonical(), text);
        }
    }

    #[test]
    fn selectors_that_read_alike_are_told_apart() {
        let (one, other) = (named("a", Some(("b", "c"))), named("a, label b=c", None));
        assert_eq!(one.to_string(), other.to_string());
        assert_ne!(one.canonical(), other.canonical());
    }
}
