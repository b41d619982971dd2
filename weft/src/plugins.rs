//! The plugins there are. Everything that lists them is made from here.

use weft_cni::Plugin;

/// All of them, in the order of the reference page.
pub(crate) const ALL: [&dyn Plugin; 13] = [
    &weft_plugin_bridge::BRIDGE,
    &weft_plugin_overlay::OVERLAY,
    &weft_plugin_macvlan::MACVLAN,
    &weft_plugin_ipvlan::IPVLAN,
    &weft_plugin_host::HOST,
    &weft_plugin_tuning::TUNING,
    &weft_plugin_portmap::PORTMAP,
    &weft_plugin_firewall::FIREWALL,
    &weft_plugin_bandwidth::BANDWIDTH,
    &weft_plugin_dns::DNS,
    &weft_plugin_warp::WARP,
    &weft_plugin_ipam::WeftIpam,
    &weft_plugin_loopback::Loopback,
];

/// The plugin with this name.
pub(crate) fn by_own_name(name: &str) -> Option<&'static dyn Plugin> {
    ALL.into_iter().find(|plugin| plugin.name() == name)
}

/// The plugin that takes the configurations of the reference plugin with this name.
pub(crate) fn by_other_name(name: &str) -> Option<&'static dyn Plugin> {
    let takes = |plugin: &&dyn Plugin| plugin.declaration().other_names.contains(&name);
    ALL.into_iter().find(takes)
}

/// A plugin by the `type` of a configuration.
pub(crate) fn by_type(kind: &str) -> Option<&'static dyn Plugin> {
    by_own_name(kind).or_else(|| by_other_name(kind))
}

/// Every name that a runtime may call the program by, the plugins' own first.
pub(crate) fn names() -> Vec<&'static str> {
    let own = ALL.into_iter().map(Plugin::name);
    let others = ALL
        .into_iter()
        .flat_map(|plugin| plugin.declaration().other_names);
    own.chain(others.copied()).collect()
}
