//! The plugins whose configuration the command line knows.

use weft_cni::conf::KeySpec;
use weft_cni::{CniError, Request};

use crate::called::by_other_name;

/// A plugin's name, its keys, and how it reads them.
pub(crate) struct KnownPlugin {
    pub(crate) name: &'static str,
    /// What it is, for the reference page.
    pub(crate) intro: &'static str,
    pub(crate) keys: &'static [KeySpec],
    validate: fn(&Request) -> Result<(), CniError>,
}

impl KnownPlugin {
    /// Every problem of a configuration.
    ///
    /// # Errors
    /// Code 7 with all of them; code 2 for unknown keys if the configuration is strict.
    pub(crate) fn validate(&self, request: &Request) -> Result<(), CniError> {
        (self.validate)(request)
    }
}

/// All of them, in the order of the reference page.
pub(crate) const PLUGINS: &[KnownPlugin] = &[
    KnownPlugin {
        name: weft_bridge::BRIDGE.name,
        intro: "The reference plugin's keys and defaults, and more.",
        keys: weft_bridge::BRIDGE_KEYS,
        validate: |request| weft_bridge::BRIDGE.validate(request),
    },
    KnownPlugin {
        name: weft_macvlan::MACVLAN.name,
        intro: "Interfaces with a MAC of their own on an interface of the host. The keys and \
                defaults of the reference plugin `macvlan`, and more.",
        keys: weft_macvlan::MACVLAN_KEYS,
        validate: |request| weft_macvlan::MACVLAN.validate(request),
    },
    KnownPlugin {
        name: weft_ipvlan::IPVLAN.name,
        intro: "Interfaces that share the MAC of an interface of the host. The keys and defaults \
                of the reference plugin `ipvlan`, and more. Without `ipam` addresses and routes \
                are those of the plugin before.",
        keys: weft_ipvlan::IPVLAN_KEYS,
        validate: |request| weft_ipvlan::IPVLAN.validate(request),
    },
    KnownPlugin {
        name: weft_host::HOST.name,
        intro: "The host's network, or an interface of the host for the container alone. The keys \
                of the reference plugin `host-device`, and more.",
        keys: weft_host::HOST_KEYS,
        validate: |request| weft_host::HOST.validate(request),
    },
    KnownPlugin {
        name: weft_tuning::TUNING.name,
        intro: "Settings of an interface and its namespace, after the plugin that makes it. The \
                keys of the reference plugin `tuning`. What was there before comes back with DEL.",
        keys: weft_tuning::TUNING_KEYS,
        validate: |request| weft_tuning::TUNING.validate(request),
    },
    KnownPlugin {
        name: weft_portmap::PORTMAP.name,
        intro: "Ports of the host that lead to the container, after the plugin that makes its \
                interface. The keys of the reference plugin `portmap`. What is published comes as \
                `runtimeConfig.portMappings`, for which the configuration declares \
                `\"capabilities\": {\"portMappings\": true}`.",
        keys: weft_portmap::PORTMAP_KEYS,
        validate: |request| weft_portmap::PORTMAP.validate(request),
    },
    KnownPlugin {
        name: weft_firewall::FIREWALL.name,
        intro: "Keeps the containers of a bridge apart from those of others, after the plugin that \
                makes the interface. The keys of the reference plugin `firewall`; weft-bridge takes \
                `ingressPolicy` itself too.",
        keys: weft_firewall::FIREWALL_KEYS,
        validate: |request| weft_firewall::FIREWALL.validate(request),
    },
    KnownPlugin {
        name: weft_bandwidth::BANDWIDTH.name,
        intro: "How fast the container sends and receives, after the plugin that makes its \
                interface. The keys of the reference plugin `bandwidth`, and limits against floods. \
                What a runtime asks for comes as `runtimeConfig.bandwidth`, for which the \
                configuration declares `\"capabilities\": {\"bandwidth\": true}`.",
        keys: weft_bandwidth::BANDWIDTH_KEYS,
        validate: |request| weft_bandwidth::BANDWIDTH.validate(request),
    },
];

/// A plugin by the `type` of a configuration.
pub(crate) fn known(kind: &str) -> Option<&'static KnownPlugin> {
    let name = by_other_name(kind).map_or(kind, |plugin| plugin.name());
    PLUGINS.iter().find(|plugin| plugin.name == name)
}
