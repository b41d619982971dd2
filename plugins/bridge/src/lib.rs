//! weft-bridge: containers on a Linux bridge.
//!
//! Takes the configuration of the reference plugin `bridge`, with its defaults, and Weft's own keys
//! besides; `BRIDGE_KEYS` lists both.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod config;
mod keys;

use keys::{BRIDGE_KEYS, MASQUERADE_KEYS, TRUNK_KEYS};
use weft_attach::InterfacePlugin;
use weft_cni::Declaration;
use weft_cni::conf::KeyTable;
use weft_firewall::policy::{POLICY_KEYS, RULE_KEYS, SELECTOR_KEYS};

/// What `weft-bridge` is called, takes and does.
pub const BRIDGE: InterfacePlugin = InterfacePlugin {
    declaration: Declaration {
        name: "weft-bridge",
        other_names: &["bridge"],
        intro: "The reference plugin's keys and defaults, and more.",
        keys: BRIDGE_KEYS,
        objects: &[
            KeyTable {
                title: "`ipMasq` as an object",
                intro: "Instead of `true`.",
                keys: MASQUERADE_KEYS,
            },
            KeyTable {
                title: "`vlanTrunk`",
                intro: "Each entry.",
                keys: TRUNK_KEYS,
            },
            KeyTable {
                title: "`policy`",
                intro: "Rules of one network. Rules of the host are in `/etc/weft/policies.d/*.toml`, each an \
                    `[[allow]]` with the same keys, `from` and `to` both given; `weft policy check` reads \
                    them. A connection may be begun if any rule allows it.",
                keys: POLICY_KEYS,
            },
            KeyTable {
                title: "a rule of `policy`",
                intro: "In `ingress`, `to` is this network's containers unless it is narrowed; in `egress`, \
                    `from`.",
                keys: RULE_KEYS,
            },
            KeyTable {
                title: "a selector of `policy`",
                intro: "Containers for which everything holds, or addresses.",
                keys: SELECTOR_KEYS,
            },
        ],
    },
    read: config::read,
};
