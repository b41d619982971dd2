//! Options: keys of the plugin that makes a network's interfaces.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::create::invalid;
use crate::driver::DriverType;
use crate::error::VNetError;

/// Keys that are set by other means, because more than the plugin depends on them, and the means.
const RESERVED: [(&str, &str); 11] = [
    ("type", "--driver sets it when the network is made"),
    ("name", "a network keeps its name"),
    ("cniVersion", "it follows from the version of Weft"),
    ("cniVersions", "it follows from the version of Weft"),
    ("plugins", "options are of the first plugin"),
    ("capabilities", "it follows from the driver"),
    ("isolation", "use --isolation"),
    ("mesh", "use --mesh when the network is made"),
    ("parent", "use --parent when the network is made"),
    (
        "ipam",
        "use --subnet, --gateway and --ip-range when the network is made",
    ),
    ("runtimeConfig", "runtimes set it"),
];

/// The plugin's key for an option, which may have the name that users of Docker know it by.
fn key<'a>(option: &'a str, driver: &DriverType) -> &'a str {
    match option {
        "com.docker.network.bridge.name" => "bridge",
        "com.docker.network.driver.mtu" => "mtu",
        "macvlan_mode" | "ipvlan_mode" => "mode",
        "ipvlan_flag" => "flag",
        "parent" if driver.is_on_lan() => "master",
        other => other,
    }
}

/// Options by the plugin's keys.
///
/// # Errors
/// A key that is set by other means.
pub(crate) fn by_key<T: Clone>(
    options: &BTreeMap<String, T>,
    driver: &DriverType,
) -> Result<BTreeMap<String, T>, VNetError> {
    let mut found = BTreeMap::new();
    for (option, value) in options {
        let key = key(option, driver);
        if let Some((_, means)) = RESERVED
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
        {
            return Err(invalid(format!("option {option}"), *means));
        }
        found.insert(key.to_owned(), value.clone());
    }
    Ok(found)
}

/// Keys that its endpoints depend on: they cannot change while there are any.
pub(crate) const OF_ENDPOINTS: [&str; 4] = ["bridge", "master", "vlan", "device"];

/// The bridge that a configuration names, unless it has a VLAN of it to itself.
pub(crate) fn bridge_of(plugin: Option<&serde_json::Map<String, Value>>) -> Option<&str> {
    let plugin = plugin?;
    let bridge = plugin.get("bridge").and_then(Value::as_str)?;
    plugin.get("vlan").is_none().then_some(bridge)
}
