//! weft-firewall: keeps the containers of a bridge apart from those of other bridges.
//!
//! Takes the configuration of the reference plugin `firewall`; [`FIREWALL_KEYS`] lists the keys. It
//! comes after the plugin that makes the interface. The work is done by `weft-attach`.

use weft_attach::conf::IngressPolicy;
use weft_attach::{ChainedPlugin, conf, firewall};
use weft_cni::conf::{KeySpec, Problems};
use weft_cni::{CniError, Request};

/// The plugin.
pub const FIREWALL: ChainedPlugin<IngressPolicy> = ChainedPlugin {
    name: "weft-firewall",
    read,
    add: firewall::add,
    del: firewall::del,
    check: firewall::check,
    needs_nft: true,
};

/// Keys of the plugin's configuration.
pub const FIREWALL_KEYS: &[KeySpec] = &[
    conf::INGRESS_POLICY,
    KeySpec::new("backend", "string", "", "accepted; it is always nf_tables"),
    KeySpec::new(
        "iptablesAdminChainName",
        "string",
        "",
        "accepted; the administrator's chain is `user_pre` of the nf_tables table `inet weft`",
    ),
    KeySpec::new(
        "firewalldZone",
        "string",
        "",
        "accepted; firewalld is not asked for anything",
    ),
];

fn read(request: &Request) -> Result<IngressPolicy, CniError> {
    let problems = Problems::default();
    let fields = request.conf.fields(FIREWALL_KEYS, &problems);
    let policy = conf::ingress_policy(&fields).unwrap_or_default();
    problems.into_result(request.conf.strict)?;
    Ok(policy)
}
