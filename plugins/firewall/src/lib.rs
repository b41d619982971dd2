//! weft-firewall: keeps the containers of a bridge apart from those of other bridges.
//!
//! Takes the configuration of the reference plugin `firewall`; [`FIREWALL_KEYS`] lists the keys. It
//! comes after the plugin that makes the interface. The work is done by `weft-attach`.

use weft_attach::conf::IngressPolicy;
use weft_attach::{Host, conf, firewall};
use weft_cni::conf::{KeySpec, Problems};
use weft_cni::{CniError, CniResult, Plugin, Request};

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

/// The plugin.
#[derive(Debug, Clone, Copy)]
pub struct WeftFirewall;

impl Plugin for WeftFirewall {
    fn name(&self) -> &'static str {
        "weft-firewall"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let policy = read(request)?;
        let mut host = host(request)?;
        Ok(firewall::add(&mut host, self.name(), request, policy)?)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        Ok(firewall::del(&mut host(request)?, request)?)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let policy = read(request)?;
        Ok(firewall::check(&mut host(request)?, request, policy)?)
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        Ok(weft_attach::gc(&mut host(request)?, request, false)?)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        read(request)?;
        Ok(weft_attach::chained_status(&mut host(request)?, request)?)
    }
}

fn host(request: &Request) -> Result<Host, CniError> {
    Host::new(&request.env, Some(&request.conf))
}

/// Checks a configuration without a container.
///
/// # Errors
/// Code 7 with every problem; code 2 for unknown keys if the configuration is strict.
pub fn validate(request: &Request) -> Result<(), CniError> {
    read(request).map(drop)
}

fn read(request: &Request) -> Result<IngressPolicy, CniError> {
    let problems = Problems::default();
    let fields = request.conf.fields(FIREWALL_KEYS, &problems);
    let policy = conf::ingress_policy(&fields).unwrap_or_default();
    problems.into_result(request.conf.strict)?;
    Ok(policy)
}
