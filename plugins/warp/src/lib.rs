//! weft-warp: what a container sends goes through another one.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod config;
mod lead;
mod own;

use weft_attach::ChainedPlugin;
use weft_attach::chained::always_ready;
use weft_cni::Declaration;

use config::Wanted;

/// What `weft-warp` is called, takes and does.
pub const WARP: ChainedPlugin<Wanted> = ChainedPlugin {
    declaration: Declaration {
        name: "weft-warp",
        other_names: &[],
        intro: "What a container sends goes through another container of its network, the gateway. A container is a \
            gateway by its name or label, or `gateway`; a target by its label (`weft.warp.via`: from `args.cni.labels` or \
            a pod's annotations), or `via`. Labels, patterns and defaults are those of `[warp]` in weft.toml. While `weftd` \
            runs targets follow their gateway to other addresses; without it what was right at ADD stays, and what has no \
            gateway any more reaches nothing but its network. It comes after the plugin that makes the interface.",
        keys: config::WARP_KEYS,
        objects: &[],
    },
    read: config::read,
    add: lead::add,
    del: lead::del,
    check: lead::check,
    status: always_ready,
    needs_nft: true,
};
