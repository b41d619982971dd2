//! Reading rules, from a configuration or a file: every problem is noted, with its place.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};
use weft_cni::conf::{Fields, KeySpec, Problems};

use super::rule::{PortMatch, Rule};
use super::selector::{Endpoints, Selector};

const INGRESS: KeySpec = KeySpec::new(
    "ingress",
    "list of rules",
    "",
    "connections to containers of this network; `to` selects some of them",
);
const EGRESS: KeySpec = KeySpec::new(
    "egress",
    "list of rules",
    "",
    "connections that containers of this network begin; `from` selects some of them",
);

/// Keys of `policy` in a configuration.
pub const POLICY_KEYS: &[KeySpec] = &[INGRESS, EGRESS];

const NAME: KeySpec = KeySpec::new("name", "string", "its number", "its name in messages");
const FROM: KeySpec = KeySpec::new(
    "from",
    "selector",
    "see above",
    "the side that begins the connection",
);
const TO: KeySpec = KeySpec::new("to", "selector", "see above", "the other side");
const PORTS: KeySpec = KeySpec::new(
    "ports",
    "list",
    "everything",
    "`\"tcp/80\"`, `\"udp/5000-5010\"`, `\"icmp\"`, `\"tcp\"` for all its ports",
);

/// Keys of a rule.
pub const RULE_KEYS: &[KeySpec] = &[NAME, FROM, TO, PORTS];

const NETWORK: KeySpec = KeySpec::new("network", "string", "", "containers of this network");
const LABEL: KeySpec = KeySpec::new(
    "label",
    "object",
    "",
    "containers with these labels: `args.cni.labels`, the pod's annotations, `namespace` of K8S_POD_NAMESPACE",
);
const CIDR: KeySpec = KeySpec::new(
    "cidr",
    "prefix or list",
    "",
    "addresses instead of containers; as `from`, those of machines outside only: no container is meant, whatever address it has. `\"any\"` in place of the selector: as `from`, every address; as `to`, every address except the host's and those of closed networks, which must be named",
);

/// Keys of a selector.
pub const SELECTOR_KEYS: &[KeySpec] = &[
    NETWORK,
    KeySpec {
        kind: "string",
        default: "",
        doc: "containers of this name (K8S_POD_NAME, which Podman sets too), or of this container id",
        ..NAME
    },
    LABEL,
    CIDR,
];

const SELECTOR: &str = "must be \"any\", or an object with network, name, label or cidr";

/// Reads `ingress` and `egress`; mistakes go to the fields' problems.
pub(super) fn of_network(network: &str, policy: &Fields<'_>) -> Vec<Rule> {
    let own = Endpoints {
        network: Some(network.to_owned()),
        ..Endpoints::default()
    };
    let mut rules = Vec::new();
    for (key, is_ingress) in [("ingress", true), ("egress", false)] {
        for (number, entry) in policy.objects(key, &[RULE_KEYS]).iter().enumerate() {
            let (own_key, other_key) = if is_ingress {
                ("to", "from")
            } else {
                ("from", "to")
            };
            let own = narrowed(entry, own_key, &own);
            let ports = ports(entry);
            let Some(other) = selector(entry, other_key) else {
                continue;
            };
            let (from, to) = if is_ingress {
                (other, own)
            } else {
                (own, other)
            };
            rules.push(Rule {
                from,
                to,
                ports,
                origin: origin(&format!("network {network}, {key}"), number, entry),
            });
        }
    }
    rules
}

/// Notes every problem of a network's `policy`.
pub fn check_network(network: &str, policy: &Map<String, Value>, problems: &Problems) {
    let own = Problems::default();
    let fields = Fields::new(policy, "policy", &[POLICY_KEYS], &own);
    drop(of_network(network, &fields));
    // A key that is misspelt would open more, or less, than is meant.
    if let Err(error) = own.into_result(true) {
        problems.conflict(error.msg);
    }
}

/// The rules of a file: `allow`.
pub(super) fn of_file(file: &str, document: &Fields<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (number, entry) in document.objects("allow", &[RULE_KEYS]).iter().enumerate() {
        let (from, to) = (selector(entry, "from"), selector(entry, "to"));
        // Read whatever the rest is like: every problem is named at once.
        let ports = ports(entry);
        if let (Some(from), Some(to)) = (from, to) {
            rules.push(Rule {
                from,
                to,
                ports,
                origin: origin(file, number, entry),
            });
        }
    }
    rules
}

fn origin(place: &str, number: usize, entry: &Fields<'_>) -> String {
    match entry.string(NAME) {
        Some(name) => format!("{place}, {name:?}"),
        None => format!("{place}, rule {}", number + 1),
    }
}

/// A network's own side: which of its containers.
fn narrowed(entry: &Fields<'_>, key: &str, own: &Endpoints) -> Selector {
    if entry.value(key).is_none() {
        return Selector::Endpoints(own.clone());
    }
    match selector(entry, key) {
        Some(Selector::Endpoints(endpoints)) => {
            if let Some(other) = endpoints
                .network
                .filter(|one| own.network.as_ref() != Some(one))
            {
                entry.invalid(
                    key,
                    &format!("network {other}"),
                    "must be of this network: rules about others are the host's (policies.d)",
                );
            }
            Selector::Endpoints(Endpoints {
                network: own.network.clone(),
                ..endpoints
            })
        }
        Some(_) => {
            entry.invalid(key, &"", "must name containers: the network's own");
            Selector::Endpoints(own.clone())
        }
        None => Selector::Endpoints(own.clone()),
    }
}

fn selector(entry: &Fields<'_>, key: &str) -> Option<Selector> {
    match entry.value(key) {
        Some(Value::String(text)) if text == "any" => return Some(Selector::Any),
        Some(Value::Object(_)) => {}
        Some(other) => {
            entry.invalid(key, other, SELECTOR);
            return None;
        }
        None => {
            entry.invalid(key, &"", SELECTOR);
            return None;
        }
    }
    let object = entry.object(key, &[SELECTOR_KEYS])?;
    let endpoints = Endpoints {
        network: object.string(NETWORK).map(str::to_owned),
        name: object.string(NAME).map(str::to_owned),
        labels: labels(&object),
    };
    let names_endpoints = endpoints != Endpoints::default();
    match (object.value(CIDR).is_some(), names_endpoints) {
        (true, false) => addresses(&object).map(Selector::Addresses),
        (false, true) => Some(Selector::Endpoints(endpoints)),
        (true, true) => {
            entry.invalid(
                key,
                &"",
                "must have either cidr, or network, name and label",
            );
            None
        }
        (false, false) => {
            entry.invalid(key, &"{}", SELECTOR);
            None
        }
    }
}

fn labels(object: &Fields<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, value) in object.map(LABEL).into_iter().flatten() {
        match value.as_str() {
            Some(text) => drop(labels.insert(key.clone(), text.to_owned())),
            None => object.invalid(format!("label.{key}"), value, "must be a string"),
        }
    }
    labels
}

fn addresses(object: &Fields<'_>) -> Option<Vec<IpNetwork>> {
    const MUST: &str = "must be an address or a prefix";
    /// The word for everything is no prefix, but a selector of its own.
    const WHOLE: &str =
        "must be an address or a prefix; \"any\" stands in place of the whole object";
    let must = |value: &Value| if value == "any" { WHOLE } else { MUST };
    let mut networks: Vec<IpNetwork> = match object.value(CIDR) {
        Some(value @ Value::String(_)) => vec![object.parsed(CIDR, must(value))?],
        Some(Value::Array(list)) if list.is_empty() => {
            object.invalid(CIDR, &"[]", MUST);
            return None;
        }
        Some(Value::Array(list)) if list.iter().any(|one| one == "any") => {
            object.invalid(CIDR, &"any", WHOLE);
            return None;
        }
        _ => object.parsed_list(CIDR, MUST),
    };
    networks.sort_by_key(|one| (one.prefix(), one.network()));
    for (index, network) in networks.iter().enumerate() {
        let wider = networks.iter().take(index);
        if let Some(wider) = wider
            .into_iter()
            .find(|wider| wider.contains(network.network()))
        {
            object.invalid(CIDR, network, &format!("is within {wider}: leave it out"));
        }
    }
    let plain = |one: &IpNetwork| IpNetwork::new(one.network(), one.prefix()).ok();
    Some(networks.iter().filter_map(plain).collect())
}

fn ports(entry: &Fields<'_>) -> Vec<PortMatch> {
    let mut ports = Vec::new();
    if entry.value(PORTS).is_some() && entry.list(PORTS).is_empty() {
        entry.invalid(
            PORTS,
            &"[]",
            "must name something; leave it out for everything",
        );
    }
    for (path, item) in entry.list(PORTS) {
        match item.as_str().map(PortMatch::parse) {
            Some(Ok(port)) => ports.push(port),
            Some(Err(must)) => entry.problems().invalid(&path, item, must),
            None => entry.problems().invalid(&path, item, "must be a string"),
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}
