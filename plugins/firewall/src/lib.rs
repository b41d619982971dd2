//! weft-firewall: keeps the containers of a bridge apart from those of other bridges.
//!
//! Takes the configuration of the reference plugin `firewall`; `FIREWALL_KEYS` lists the keys. It
//! comes after the plugin that makes the interface.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod keep_apart;

use weft_attach::ChainedPlugin;
use weft_attach::conf::{self, IngressPolicy};
use weft_cni::conf::{KeySpec, Problems};
use weft_cni::{CniError, Declaration, Request};

/// What `weft-firewall` is called, takes and does.
pub const FIREWALL: ChainedPlugin<IngressPolicy> = ChainedPlugin {
    declaration: Declaration {
        name: "weft-firewall",
        other_names: &["firewall"],
        intro: "Keeps the containers of a bridge apart from those of others, after the plugin that \
            makes the interface. The keys of the reference plugin `firewall`; weft-bridge takes \
            `ingressPolicy` itself too.",
        keys: FIREWALL_KEYS,
        objects: &[],
    },
    read,
    add: keep_apart::add,
    del: keep_apart::del,
    check: keep_apart::check,
    status: weft_attach::chained::always_ready,
    needs_nft: true,
};

const BACKEND: KeySpec = KeySpec::new("backend", "string", "", "accepted; it is always nf_tables");
const IPTABLES_ADMIN_CHAIN_NAME: KeySpec = KeySpec::new(
    "iptablesAdminChainName",
    "string",
    "",
    "accepted; the administrator's chain is `user_pre` of the nf_tables table `inet weft`",
);
const FIREWALLD_ZONE: KeySpec = KeySpec::new(
    "firewalldZone",
    "string",
    "",
    "accepted; Weft does not talk to firewalld",
);

/// Keys of the plugin's configuration.
pub(crate) const FIREWALL_KEYS: &[KeySpec] = &[
    conf::INGRESS_POLICY,
    BACKEND,
    IPTABLES_ADMIN_CHAIN_NAME,
    FIREWALLD_ZONE,
];

fn read(request: &Request) -> Result<IngressPolicy, CniError> {
    let problems = Problems::default();
    let fields = request.conf.fields(FIREWALL_KEYS, &problems);
    let policy = conf::ingress_policy(&fields).unwrap_or_default();
    problems.into_result(request.conf.strict)?;
    Ok(policy)
}
