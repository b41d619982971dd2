//! Which containers are gateways, which are targets, and what their labels ask for.

use std::fmt;
use std::time::Duration;

use crate::config::{Answers, Ipv6, OnMissing, WarpConfig};
use crate::container::Container;
use crate::rule::{RoutingRule, parse_rules};

/// The label with a target's own rules.
const RULES: &str = "weft.warp.rules";
/// The label of a target with `block` or `keep`.
const IPV6: &str = "weft.warp.ipv6";
/// The label of a target with `block`, `direct` or `wait`.
const ON_MISSING: &str = "weft.warp.on-missing";
/// The label of a gateway with the network by which it sends on what targets send it.
const EGRESS: &str = "weft.warp.egress";
/// The label of a gateway with the only interface by which targets' packets may leave it.
const INTERFACE: &str = "weft.warp.interface";
/// The label of a target with `direct` or `led`.
const ANSWERS: &str = "weft.warp.answers";
/// A label's most bytes.
const LONGEST: usize = 4096;

/// Which gateway a target asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Only in this network.
    pub network: Option<String>,
    /// The container's name, or a label of it.
    pub by: By,
}

/// How a gateway is told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// By its name.
    Name(String),
    /// By a label and its value.
    Label(String, String),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(network) = &self.network {
            write!(f, "{network}/")?;
        }
        match &self.by {
            By::Name(name) => f.write_str(name),
            By::Label(key, value) => write!(f, "{key}={value}"),
        }
    }
}

impl Reference {
    /// Reads `NAME`, `LABEL=VALUE`, or one of both behind `NETWORK/`.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} must be a gateway's name, LABEL=VALUE, NETWORK/NAME or NETWORK/LABEL=VALUE"
            )
        };
        let text = text.trim();
        if text.len() > LONGEST
            || text
                .chars()
                .any(|one| one.is_control() || one.is_whitespace())
        {
            return Err(wrong());
        }
        // Keys of labels have slashes; names of networks do not.
        let before_value = text.split('=').next().unwrap_or_default();
        let (network, rest) = match text.split_once('/') {
            Some((network, rest)) if before_value.contains('/') => (Some(network), rest),
            _ => (None, text),
        };
        let by = match rest.split_once('=') {
            Some((key, value)) if !key.is_empty() => By::Label(key.to_owned(), value.to_owned()),
            Some(_) => return Err(wrong()),
            None => By::Name(rest.to_owned()),
        };
        let is_empty = rest.is_empty() || network.is_some_and(str::is_empty);
        if is_empty || matches!(&by, By::Name(name) if name.contains('/')) {
            return Err(wrong());
        }
        Ok(Self {
            network: network.map(str::to_owned),
            by,
        })
    }

    /// Whether a container is meant.
    pub fn is(&self, container: &Container) -> bool {
        match &self.by {
            By::Name(name) => container.name == *name,
            By::Label(key, value) => container.labels.get(key) == Some(value),
        }
    }
}

/// What a target asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// By which gateway.
    pub gateway: Reference,
    /// In which network, where both are in several.
    pub network: Option<String>,
    /// What goes through the gateway.
    pub rules: Vec<RoutingRule>,
    /// What is sent from the numbers of its published ports.
    pub answers: Answers,
    /// What happens to IPv6 where the gateway has none.
    pub ipv6: Ipv6,
    /// What happens while there is no gateway.
    pub on_missing: OnMissing,
    /// How long an ADD waits for one.
    pub wait: Duration,
}

/// What a gateway asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewaySettings {
    /// The network by which it sends on what targets send it.
    pub egress: Option<String>,
    /// The only interface by which it may: a tunnel's. While it is down nothing leaves.
    pub interface: Option<String>,
}

/// What a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// It leads others.
    Gateway(GatewaySettings),
    /// It is led.
    Target(Wish),
    /// It is a target, and its labels cannot be understood: it reaches nothing but its neighbours.
    Broken(Vec<String>),
    /// It is none of Weft's business.
    Other,
}

/// Decides.
#[derive(Debug, Clone)]
pub struct Classifier<'a>(pub &'a WarpConfig);

impl Classifier<'_> {
    /// What a container is, by its name and labels.
    pub fn class(&self, container: &Container) -> Class {
        let config = self.0;
        let label = container.labels.get(&config.gateway_label);
        let label = label.map(|value| value != "false");
        let by_name = || {
            let pattern = config.name_pattern.as_ref();
            pattern.is_some_and(|pattern| pattern.is_match(&container.name))
        };
        let is_gateway = label.unwrap_or_else(by_name);
        let via = container.labels.get(&config.target_label);
        if is_gateway {
            if via.is_some() {
                return Class::Broken(vec![format!(
                    "it is a gateway and a target: take the label {} away, or what makes it a gateway",
                    config.target_label
                )]);
            }
            let egress = container.labels.get(EGRESS).cloned();
            let interface = container.labels.get(INTERFACE).cloned();
            return Class::Gateway(GatewaySettings { egress, interface });
        }
        match via {
            None => Class::Other,
            Some(via) => self.wish(container, via),
        }
    }

    fn wish(&self, container: &Container, via: &str) -> Class {
        let config = self.0;
        let mut problems = Vec::new();
        let mut wrong = |label: &str, why: String| problems.push(format!("label {label}: {why}"));
        let label = |name: &str| container.labels.get(name).map(String::as_str);
        let gateway = Reference::parse(via)
            .map_err(|why| wrong(&config.target_label, why))
            .ok();
        let rules = match label(RULES) {
            None => config.rules.clone(),
            Some(text) if text.len() > LONGEST => {
                wrong(RULES, format!("is longer than {LONGEST} bytes"));
                Vec::new()
            }
            Some(text) => parse_rules(text).unwrap_or_else(|why| {
                wrong(RULES, why);
                Vec::new()
            }),
        };
        let ipv6 = label(IPV6).map_or(Ok(config.ipv6), Ipv6::parse);
        let ipv6 = ipv6.unwrap_or_else(|why| {
            wrong(IPV6, why);
            Ipv6::Block
        });
        let on_missing = label(ON_MISSING).map_or(Ok(config.on_missing), OnMissing::parse);
        let on_missing = on_missing.unwrap_or_else(|why| {
            wrong(ON_MISSING, why);
            OnMissing::Block
        });
        let answers = label(ANSWERS).map_or(Ok(Answers::Direct), Answers::parse);
        let answers = answers.unwrap_or_else(|why| {
            wrong(ANSWERS, why);
            Answers::Led
        });
        match (gateway, problems.is_empty()) {
            (Some(gateway), true) => Class::Target(Wish {
                gateway,
                network: container.labels.get(&config.network_label).cloned(),
                rules,
                answers,
                ipv6,
                on_missing,
                wait: config.wait,
            }),
            _ => Class::Broken(problems),
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;

    fn class(name: &str, labels: &[(&str, &str)]) -> Class {
        let container = Container {
            name: name.to_owned(),
            labels: (labels.iter())
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..Container::default()
        };
        Classifier(&WarpConfig::default()).class(&container)
    }

    #[test]
    fn references_have_four_shapes() {
        for text in ["gw", "role=vpn", "net/gw", "net/role=vpn", "role=a/b"] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Reference::parse("role=a/b").unwrap().network, None);
        for text in ["", "/gw", "net/", "a/b/c", "=x", "a b", "x\ny"] {
            Reference::parse(text).unwrap_err();
        }
    }

    #[test]
    fn names_and_labels_decide() {
        assert_eq!(class("x", &[]), Class::Other);
        assert_eq!(class("xwarp-", &[]), Class::Other);
        assert!(matches!(class("warp-1", &[]), Class::Gateway(_)));
        assert!(matches!(
            class("x", &[("weft.warp.gateway", "")]),
            Class::Gateway(_)
        ));
        for name in ["x", "warp-1"] {
            let labels = [("weft.warp.gateway", "false")];
            assert_eq!(class(name, &labels), Class::Other);
        }
        let Class::Target(wish) = class(
            "x",
            &[
                ("weft.warp.via", "gw"),
                ("weft.warp.rules", "10.0.0.0/8; all tcp:443"),
                ("weft.warp.on-missing", "wait"),
                ("weft.warp.network", "n"),
            ],
        ) else {
            panic!("no target");
        };
        assert_eq!((wish.rules.len(), wish.on_missing), (2, OnMissing::Wait));
        assert_eq!(wish.network.as_deref(), Some("n"));
    }

    #[test]
    fn what_cannot_be_understood_is_closed_and_said() {
        for labels in [
            &[("weft.warp.via", "a/b/c")][..],
            &[("weft.warp.via", "gw"), ("weft.warp.rules", "tcp:0")],
            &[("weft.warp.via", "gw"), ("weft.warp.ipv6", "no")],
            &[("weft.warp.via", "gw"), ("weft.warp.on-missing", "")],
            &[("weft.warp.via", "gw"), ("weft.warp.gateway", "")],
        ] {
            let Class::Broken(problems) = class("x", labels) else {
                panic!("{labels:?} is understood");
            };
            assert_eq!(problems.len(), 1, "{problems:?}");
        }
    }
}
