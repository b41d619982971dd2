//! Routes that netplan's files have (netplan.readthedocs.io, "routes"): read, never written.

use ipnetwork::IpNetwork;
use saphyr::{LoadableYamlNode, Yaml};

/// Kinds of interfaces, each a mapping from names to settings.
const KINDS: [&str; 8] = [
    "ethernets",
    "wifis",
    "bonds",
    "bridges",
    "vlans",
    "tunnels",
    "vrfs",
    "dummy-devices",
];

/// The destinations of a file's routes, without default routes.
///
/// # Errors
/// Where the text is no YAML.
pub fn static_routes(text: &str) -> Result<Vec<IpNetwork>, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    let networks = documents
        .iter()
        .filter_map(|one| one.as_mapping_get("network"));
    for network in networks {
        for kind in KINDS {
            let interfaces = network.as_mapping_get(kind).and_then(Yaml::as_mapping);
            for settings in interfaces.into_iter().flat_map(|all| all.values()) {
                let routes = settings
                    .as_mapping_get("routes")
                    .and_then(Yaml::as_sequence);
                for route in routes.into_iter().flatten() {
                    let to = route.as_mapping_get("to").and_then(Yaml::as_str);
                    found.extend(to.and_then(destination));
                }
            }
        }
    }
    Ok(found)
}

fn destination(text: &str) -> Option<IpNetwork> {
    let prefix: IpNetwork = text.parse().ok()?;
    let network = IpNetwork::new(prefix.network(), prefix.prefix()).ok()?;
    (network.prefix() > 0).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_all_kinds_of_interfaces() {
        let text = "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n      routes:\n        - to: default\n          via: 192.0.2.254\n        - to: 10.60.0.0/16\n          via: 192.0.2.1\n  bridges:\n    br0:\n      routes:\n        - {to: \"fd60::/48\", via: \"fd00::1\"}\n";
        let found = static_routes(text).unwrap();
        let expected: Vec<IpNetwork> = ["10.60.0.0/16", "fd60::/48"]
            .map(|one| one.parse().unwrap())
            .to_vec();
        assert_eq!(found, expected);
        assert!(static_routes("network: [").is_err());
        assert!(static_routes("").unwrap().is_empty());
    }
}
