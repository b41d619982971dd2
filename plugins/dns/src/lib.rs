//! weft-dns: the names by which a container is found, and the server that it asks for those of others.
//!
//! Takes the configuration of the plugin `dnsname`; `DNS_KEYS` lists the keys. It comes after the plugin that makes the
//! interface. The answers are weftd's.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod config;
mod daemon;
mod labelled;
mod names;
mod server;
mod way;

use weft_attach::ChainedPlugin;
use weft_cni::Declaration;
use weft_cni::conf::KeyTable;

use config::Names;

/// What `weft-dns` is called, takes and does.
pub const DNS: ChainedPlugin<Names> = ChainedPlugin {
    declaration: Declaration {
        name: "weft-dns",
        other_names: &["dnsname"],
        intro: "The names by which a container is found, and the server that it asks for those of others: an address \
            of the host, or of its own loopback, where `weftd` answers. The keys of the plugin `dnsname`. Further \
            names come as `runtimeConfig.aliases`, for which the configuration declares \
            `\"capabilities\": {\"aliases\": true}`, and as `args.cni.hostname`. With `\"dns\": {\"required\": true}` \
            an ADD fails if `weftd` does not answer. The labels `dns/services` (`http/tcp:80 ...`) and `dns/text` \
            make SRV and TXT records.",
        keys: config::DNS_KEYS,
        objects: &[
            KeyTable {
                title: "a record",
                intro: "Entries of `records`.",
                keys: config::RECORD_KEYS,
            },
            KeyTable {
                title: "a place of a service",
                intro: "Entries of a record's `srv`.",
                keys: config::SERVICE_KEYS,
            },
        ],
    },
    read: config::read,
    add: names::add,
    del: names::del,
    check: names::check,
    status: daemon::status,
    needs_nft: false,
};
