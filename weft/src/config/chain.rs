//! Whether the plugins of a network go together.

use serde_json::{Map, Value};
use weft_cni::delegate::find;
use weft_cni::runtime::ConfList;
use weft_vnet::Places;

/// Plugins that make an interface: Weft's, and those that are well known.
const INTERFACES: [&str; 15] = [
    "weft-bridge",
    "weft-overlay",
    "weft-macvlan",
    "weft-ipvlan",
    "weft-host",
    "weft-loopback",
    "bridge",
    "macvlan",
    "ipvlan",
    "host-device",
    "loopback",
    "ptp",
    "vlan",
    "dummy",
    "flannel",
];
/// Plugins that add something to an interface.
const CHAINED: [&str; 12] = [
    "weft-portmap",
    "weft-bandwidth",
    "weft-tuning",
    "weft-firewall",
    "weft-dns",
    "portmap",
    "bandwidth",
    "tuning",
    "firewall",
    "dnsname",
    "sbr",
    "vrf",
];
/// What runtimes can be asked for (CONVENTIONS.md of the CNI specification), with the plugins of the known ones that do
/// something with it; none: many do.
const CAPABILITIES: [(&str, &[&str]); 11] = [
    ("portMappings", &["weft-portmap", "portmap"]),
    ("bandwidth", &["weft-bandwidth", "bandwidth"]),
    ("ipRanges", &[]),
    ("ips", &[]),
    ("mac", &[]),
    ("dns", &[]),
    ("aliases", &["weft-dns", "dnsname"]),
    ("deviceID", &["weft-host", "host-device"]),
    ("infinibandGUID", &[]),
    ("cgroupPath", &[]),
    ("io.kubernetes.cri.pod-annotations", &[]),
];

fn kind(plugin: &Map<String, Value>) -> &str {
    let kind = plugin.get("type").and_then(Value::as_str);
    kind.unwrap_or_default()
}

/// What is wrong with a network's plugins together.
pub(super) fn problems(list: &ConfList, places: &Places) -> Vec<String> {
    let mut found = Vec::new();
    let kinds: Vec<&str> = list.plugins.iter().map(kind).collect();
    for (number, kind) in kinds.iter().enumerate() {
        if find(kind, &places.plugin_path).is_err() {
            found.push(missing(kind, places));
        }
        if number == 0 && CHAINED.contains(kind) {
            found.push(format!(
                "{kind}: is the first plugin, and there is no interface yet that it could add something to: put it \
                 behind the plugin that makes the interface"
            ));
        }
        if number > 0 && INTERFACES.contains(kind) {
            found.push(format!(
                "{kind}: makes an interface, as {} before it does: a network has one such plugin, the first",
                kinds.first().copied().unwrap_or_default()
            ));
        }
        if kinds.iter().position(|one| one == kind) != Some(number) {
            found.push(format!("{kind}: is there twice"));
        }
    }
    for plugin in &list.plugins {
        found.extend(capabilities(plugin));
        let ipam = plugin
            .get("ipam")
            .and_then(|ipam| ipam.get("type")?.as_str());
        let ipam = ipam.filter(|ipam| !ipam.is_empty());
        if let Some(ipam) = ipam.filter(|ipam| find(ipam, &places.plugin_path).is_err()) {
            found.push(missing(ipam, places));
        }
    }
    found
}

fn missing(kind: &str, places: &Places) -> String {
    let dirs: Vec<String> = places
        .plugin_path
        .iter()
        .map(|dir| dir.display().to_string())
        .collect();
    let remedy = match kind.starts_with("weft-") {
        true => "weft plugins link /opt/cni/bin puts Weft's there",
        false => "install it, or name its directory in CNI_PATH",
    };
    format!(
        "{kind}: no plugin of this name is in {}: {remedy}",
        dirs.join(":")
    )
}

fn capabilities(plugin: &Map<String, Value>) -> Vec<String> {
    let kind = kind(plugin);
    let mut found = Vec::new();
    let declared = plugin.get("capabilities").and_then(Value::as_object);
    for (name, _) in declared.into_iter().flatten() {
        match CAPABILITIES.iter().find(|(known, _)| known == name) {
            None => {
                let like = CAPABILITIES
                    .iter()
                    .find(|(known, _)| known.eq_ignore_ascii_case(name));
                let hint = like.map_or_else(String::new, |(known, _)| {
                    format!(" (did you mean \"{known}\"?)")
                });
                found.push(format!(
                    "{kind}: capabilities: no runtime knows \"{name}\"{hint}"
                ));
            }
            Some((_, plugins)) if !plugins.is_empty() && !plugins.contains(&kind) => {
                found.push(format!(
                    "{kind}: capabilities: {name} is for {}",
                    plugins.join(" and ")
                ));
            }
            Some(_) => {}
        }
    }
    let has = |name: &str| declared.is_some_and(|all| all.get(name) == Some(&Value::Bool(true)));
    let is_portmap = matches!(kind, "weft-portmap" | "portmap");
    if is_portmap && !has("portMappings") && !plugin.contains_key("runtimeConfig") {
        found.push(format!(
            "{kind}: publishes nothing without \"capabilities\": {{\"portMappings\": true}}"
        ));
    }
    found
}
