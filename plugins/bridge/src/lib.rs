//! weft-bridge: containers on a Linux bridge.
//!
//! Takes the configuration of the reference plugin `bridge`, with its defaults, and Weft's own keys
//! besides; [`BRIDGE_KEYS`] lists both. The work is done by `weft-attach`.

mod config;
mod keys;

pub use keys::{BRIDGE_KEYS, MASQUERADE_KEYS, TRUNK_KEYS};

use weft_attach::InterfacePlugin;

/// The plugin.
pub const BRIDGE: InterfacePlugin = InterfacePlugin {
    name: "weft-bridge",
    read: config::read,
};
