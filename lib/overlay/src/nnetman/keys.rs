//! Which keys n-netman's files have, and what becomes of them.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::read::Document;
use crate::config::Overlays;

/// What a key means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The same.
    Same,
    /// Nothing: why.
    Nothing(&'static str),
}

use Meaning::{Nothing, Same};

/// Weft has no file of its own for it.
const VMS: &str = "plug virtual machines into the bridge, or into the network that weft overlay libvirt-xml describes";
const TOPOLOGY: &str = "each host speaks with each: direct, without transit";
const LOGS: &str = "WEFT_LOG sets the level";

/// Keys by their paths, without numbers of lists; those below a key that means nothing are not looked at.
const KEYS: &[(&str, Meaning)] = &[
    ("version", Same),
    ("node.id", Same),
    ("node.hostname", Same),
    ("node.tags", Same),
    ("netplan.enabled", Same),
    ("netplan.config_paths", Same),
    ("netplan.underlay.prefer_interfaces", Same),
    (
        "netplan.underlay.prefer_address_families",
        Nothing("the family is that of the peers' addresses"),
    ),
    ("kvm.enabled", Nothing(VMS)),
    ("kvm.provider", Nothing(VMS)),
    ("kvm.libvirt", Nothing(VMS)),
    ("kvm.bridges", Nothing(VMS)),
    ("kvm.attach", Nothing(VMS)),
    ("topology", Nothing(TOPOLOGY)),
    ("security.control_plane.transport", Same),
    ("security.control_plane.listen.address", Same),
    ("security.control_plane.listen.port", Same),
    ("security.control_plane.tls.enabled", Same),
    ("security.control_plane.tls.cert_file", Same),
    ("security.control_plane.tls.key_file", Same),
    ("security.control_plane.tls.ca_file", Same),
    ("observability.logging", Nothing(LOGS)),
    ("observability.metrics.enabled", Same),
    ("observability.metrics.listen", Same),
    ("observability.healthcheck.enabled", Same),
    ("observability.healthcheck.listen", Same),
];

/// Those of an overlay, below `overlays[]`, and of version 1 below `overlay.vxlan`.
const OF_OVERLAY: &[(&str, Meaning)] = &[
    ("vni", Same),
    ("name", Same),
    ("dstport", Same),
    ("mtu", Same),
    ("learning", Same),
    ("underlay_interface", Same),
    ("bridge.name", Same),
    ("bridge.mtu", Same),
    ("bridge.ipv4", Same),
    ("bridge.ipv6", Same),
    ("bum.mode", Same),
    (
        "bum.group",
        Nothing("frames to all are sent to each host by itself"),
    ),
];

/// Those of routing, below each overlay, and of version 1 at the root.
const OF_ROUTING: &[(&str, Meaning)] = &[
    ("export.networks", Same),
    ("export.metric", Same),
    ("export.export_all", Same),
    ("export.include_connected", Same),
    ("export.include_netplan_static", Same),
    ("import.accept_all", Same),
    ("import.allow", Same),
    ("import.deny", Same),
    ("import.install.table", Same),
    ("import.install.replace_existing", Same),
    ("import.install.flush_on_peer_down", Same),
    ("import.install.route_lease_seconds", Same),
    ("import.install.lookup_rules.enabled", Same),
    ("import.install.lookup_rules.mode", Same),
];

const OF_PEER: &[(&str, Meaning)] = &[
    ("id", Same),
    ("endpoint.address", Same),
    (
        "endpoint.via_interface",
        Nothing("the overlay's underlay decides"),
    ),
    ("vnis", Same),
    (
        "auth",
        Nothing("security.control_plane.tls is what hosts believe"),
    ),
    ("health.keepalive_interval_ms", Same),
    ("health.dead_after_ms", Same),
];

/// The meaning of a path.
fn meaning(path: &str) -> Option<(Meaning, bool)> {
    let (table, rest) = if let Some(rest) = path.strip_prefix("overlays[].routing.") {
        (OF_ROUTING, rest)
    } else if let Some(rest) = path.strip_prefix("routing.") {
        (OF_ROUTING, rest)
    } else if let Some(rest) = path.strip_prefix("overlays[].") {
        (OF_OVERLAY, rest)
    } else if let Some(rest) = path.strip_prefix("overlay.vxlan.") {
        (OF_OVERLAY, rest)
    } else if let Some(rest) = path.strip_prefix("peers[].") {
        (OF_PEER, rest)
    } else if let Some(rest) = path.strip_prefix("overlay.peers[].") {
        (OF_PEER, rest)
    } else {
        (KEYS, path)
    };
    let exact = table.iter().find(|(key, _)| *key == rest);
    let around = || {
        table.iter().find(|(key, meaning)| {
            matches!(meaning, Nothing(_)) && rest.starts_with(&format!("{key}."))
        })
    };
    if let Some((_, meaning)) = exact {
        return Some((*meaning, true));
    }
    if around().is_some() {
        return Some((Same, false));
    }
    let is_above = |(key, _): &(&str, Meaning)| key.starts_with(&format!("{rest}."));
    let is_root = matches!(
        path,
        "overlays"
            | "overlays[]"
            | "overlays[].routing"
            | "routing"
            | "overlay"
            | "overlay.vxlan"
            | "peers"
            | "peers[]"
            | "overlay.peers"
            | "overlay.peers[]"
    );
    (is_root || table.iter().any(is_above)).then_some((Same, false))
}

/// Calls with each path and the same with list numbers.
fn walk(value: &Value, general: &str, path: &str, each: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let below = |above: &str| match above {
                    "" => key.clone(),
                    above => format!("{above}.{key}"),
                };
                let (general, path) = (below(general), below(path));
                each(&general, &path);
                walk(value, &general, &path, each);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                walk(
                    item,
                    &format!("{general}[]"),
                    &format!("{path}[{number}]"),
                    each,
                );
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What means nothing here, and what no version has.
pub(super) fn remarks(document: &Document) -> Vec<String> {
    let mut remarks = Vec::new();
    walk(&document.value, "", "", &mut |general, path| {
        let line = document.line(path);
        // Lists of plain values have no keys below.
        match meaning(general.trim_end_matches("[]")).or_else(|| meaning(general)) {
            Some((Nothing(why), true)) => {
                remarks.push((line, format!("{path}: means nothing here: {why}")));
            }
            Some(_) => {}
            None => {
                let above = general.rsplit_once('.').map(|(above, _)| above);
                let is_told = above.is_some_and(|above| meaning(above).is_none());
                if !is_told {
                    remarks.push((line, format!("{path}: no version has this key")));
                }
            }
        }
    });
    remarks.sort();
    let located = remarks.into_iter();
    located
        .map(|(line, text)| format!("line {line}: {text}"))
        .collect()
}

/// The tables, as far as they can be read, and why the rest cannot.
pub(super) fn overlays(document: &Document) -> (Overlays, Vec<String>) {
    let root = &document.value;
    let mut problems = Vec::new();
    let version = root.get("version").and_then(Value::as_u64);
    if !matches!(version, Some(1 | 2)) {
        let line = document.line("version");
        problems.push(format!("line {line}: version: must be 1 or 2"));
    }
    if text_of(root, "/node/id").is_none() {
        let line = document.line("node.id");
        problems.push(format!("line {line}: node.id: is required"));
    }
    let (listed, peers_at) = match version {
        Some(1) => {
            let mut one = root.pointer("/overlay/vxlan").cloned().unwrap_or_default();
            if let (Some(one), Some(routing)) = (one.as_object_mut(), root.get("routing")) {
                one.insert("routing".to_owned(), routing.clone());
            }
            let all = if one.is_null() {
                Vec::new()
            } else {
                vec![("overlay.vxlan".to_owned(), one)]
            };
            (all, "overlay.peers")
        }
        _ => (items(root, "/overlays", "overlays"), "peers"),
    };
    let peers = items(root, &format!("/{}", peers_at.replace('.', "/")), peers_at);
    let mut read = Overlays::default();
    for (path, value) in listed {
        let made = overlay(&value, root);
        read.overlay
            .extend(parsed(document, &path, made, &mut problems));
        let mode = text_of(&value, "/bum/mode").unwrap_or("head-end-replication");
        if mode != "head-end-replication" {
            let at = format!("{path}.bum.mode");
            problems.push(format!(
                "line {}: {at}: {mode:?}: Weft has head-end-replication alone",
                document.line(&at)
            ));
        }
    }
    for (path, value) in peers {
        let mut made = picked(&value, &["id", "vnis", "health"]);
        if let Some(address) = value.pointer("/endpoint/address") {
            made.insert("address".to_owned(), address.clone());
        }
        read.peer
            .extend(parsed(document, &path, Value::Object(made), &mut problems));
    }
    let node = Value::Object(picked(
        root.get("node").unwrap_or(&Value::Null),
        &["id", "hostname", "tags"],
    ));
    read.node = parsed(document, "node", node, &mut problems).unwrap_or_default();
    let plane = json!({"control_plane": control_plane(root)});
    let at = "security.control_plane";
    read.security = parsed(document, at, plane, &mut problems).unwrap_or_default();
    let mut seen = root
        .get("observability")
        .cloned()
        .unwrap_or_else(|| json!({}));
    if let Some(seen) = seen.as_object_mut() {
        seen.remove("logging");
        for (key, port) in [("metrics", 9109), ("healthcheck", 9110)] {
            if let Some(one) = seen.get_mut(key).and_then(Value::as_object_mut) {
                one.entry("listen")
                    .or_insert_with(|| json!(format!("127.0.0.1:{port}")));
            }
        }
    }
    read.observability = parsed(document, "observability", seen, &mut problems).unwrap_or_default();
    if let Some(paths) = root.pointer("/netplan/config_paths") {
        let made = json!({"config_paths": paths});
        read.netplan = parsed(document, "netplan", made, &mut problems).unwrap_or_default();
    }
    (read, problems)
}

fn text_of<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn items(root: &Value, pointer: &str, path: &str) -> Vec<(String, Value)> {
    let list = root.pointer(pointer).and_then(Value::as_array);
    let items = list.into_iter().flatten().enumerate();
    items
        .map(|(number, item)| (format!("{path}[{number}]"), item.clone()))
        .collect()
}

fn picked(value: &Value, keys: &[&str]) -> Map<String, Value> {
    let found = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), value.get(*key)?.clone())));
    found.filter(|(_, value)| !value.is_null()).collect()
}

/// An overlay of n-netman's as one of Weft's.
fn overlay(value: &Value, root: &Value) -> Value {
    let mut made = picked(
        value,
        &[
            "vni", "name", "dstport", "mtu", "learning", "bridge", "routing",
        ],
    );
    if let Some(name) = value.get("bridge").and_then(Value::as_str) {
        made.insert("bridge".to_owned(), json!({"name": name}));
    }
    // Its MTU is set whatever carries it.
    let of_bridge = value.pointer("/bridge/mtu").cloned();
    made.entry("mtu")
        .or_insert_with(|| of_bridge.unwrap_or_else(|| json!(1450)));
    let mut interfaces: Vec<Value> = value
        .get("underlay_interface")
        .cloned()
        .into_iter()
        .collect();
    let preferred = root
        .pointer("/netplan/underlay/prefer_interfaces")
        .and_then(Value::as_array);
    interfaces.extend(preferred.into_iter().flatten().cloned());
    interfaces.retain(Value::is_string);
    made.insert(
        "underlay".to_owned(),
        json!({"prefer_interfaces": interfaces}),
    );
    Value::Object(made)
}

/// Without TLS it is in clear, as there.
fn control_plane(root: &Value) -> Value {
    let theirs = root.pointer("/security/control_plane");
    let theirs = theirs.unwrap_or(&Value::Null);
    let mut made = picked(theirs, &["transport", "listen"]);
    let tls = theirs.get("tls").unwrap_or(&Value::Null);
    match tls.get("enabled").and_then(Value::as_bool) {
        Some(true) => {
            let files = picked(tls, &["cert_file", "key_file", "ca_file"]);
            made.insert("tls".to_owned(), Value::Object(files));
        }
        _ => {
            made.insert("insecure".to_owned(), Value::Bool(true));
        }
    }
    Value::Object(made)
}

/// None if it cannot be read, which is noted.
fn parsed<T: DeserializeOwned>(
    document: &Document,
    path: &str,
    value: Value,
    problems: &mut Vec<String>,
) -> Option<T> {
    match serde_json::from_value(value) {
        Ok(read) => Some(read),
        Err(error) => {
            problems.push(format!("line {}: {path}: {error}", document.line(path)));
            None
        }
    }
}
