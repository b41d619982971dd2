//! weft-overlay: containers in networks over several hosts.
//!
//! The daemon makes an overlay's bridge and what joins it with other hosts, and says so in a file; this plugin makes the
//! container's port on that bridge, with an address of this host's part.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod config;
mod network;

use weft_attach::{InterfacePlugin, conf};
use weft_cni::Declaration;
use weft_cni::conf::{KeySpec, KeyTable};
use weft_firewall::policy::{POLICY_KEYS, RULE_KEYS, SELECTOR_KEYS};

/// What `weft-overlay` is called, takes and does.
pub const OVERLAY: InterfacePlugin = InterfacePlugin {
    declaration: Declaration {
        name: "weft-overlay",
        other_names: &[],
        intro: "Containers in an overlay of weft.toml (`[[overlay]]`), which the daemon makes. Without `ipam` their \
            addresses are of this host's part: its subnet with `mode = \"routed\"`, else what `containers` names.",
        keys: OVERLAY_KEYS,
        objects: &[
            KeyTable {
                title: "`policy`",
                intro: "As weft-bridge has it. Selectors that mean containers by label or network are refused: those of \
                    other hosts are not known here.",
                keys: POLICY_KEYS,
            },
            KeyTable {
                title: "a rule of `policy`",
                intro: "In `ingress`, `to` is this network's containers of this host; in `egress`, `from`.",
                keys: RULE_KEYS,
            },
            KeyTable {
                title: "a selector of `policy`",
                intro: "Addresses.",
                keys: SELECTOR_KEYS,
            },
        ],
    },
    read: config::read,
};

pub(crate) const WHICH: KeySpec = KeySpec::new(
    "overlay",
    "string or number",
    "required",
    "the overlay: the name of its VXLAN device, or its VNI",
);
pub(crate) const IP_MASQ: KeySpec = KeySpec::new(
    "ipMasq",
    "boolean",
    "false",
    "packets to the outside get the host's address as their source; those to the overlay do not",
);

/// Keys of the plugin's configuration.
pub(crate) const OVERLAY_KEYS: &[KeySpec] = &[
    WHICH,
    IP_MASQ,
    conf::ISOLATION,
    conf::POLICY,
    conf::IGNORE_FOREIGN_FIREWALL,
    conf::ANTI_SPOOF,
    conf::DETECTION,
    conf::MAC,
    conf::SYSCTL,
];
