//! weft-bridge: containers on a Linux bridge.
//!
//! Takes the configuration of the reference plugin `bridge`, with its defaults, and Weft's own keys
//! besides; [`BRIDGE_KEYS`] lists both. The work is done by `weft-attach`.

mod config;
mod keys;

pub use keys::{BRIDGE_KEYS, MASQUERADE_KEYS, TRUNK_KEYS};

use weft_attach::ipam::OWN_TYPE;
use weft_attach::{Host, Ipam};
use weft_cni::{CniError, CniResult, Plugin, Request};

/// The plugin's name.
pub const NAME: &str = "weft-bridge";

/// The plugin.
#[derive(Debug, Clone, Copy)]
pub struct Bridge;

impl Plugin for Bridge {
    fn name(&self) -> &'static str {
        NAME
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let plan = config::plan(request)?;
        let mut host = Host::new(&request.env, Some(&request.conf))?;
        Ok(weft_attach::add(&mut host, &plan)?)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        let mut host = Host::new(&request.env, Some(&request.conf))?;
        Ok(weft_attach::del(&mut host, request)?)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let mut host = Host::new(&request.env, Some(&request.conf))?;
        Ok(weft_attach::check(&mut host, request)?)
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        let mut host = Host::new(&request.env, Some(&request.conf))?;
        Ok(weft_attach::gc(&mut host, request)?)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let settings = config::read(request)?;
        let mut host = Host::new(&request.env, Some(&request.conf))?;
        let ipam = match &settings.ipam {
            Ipam::Store(config) if request.conf.ipam_type() == Some(OWN_TYPE) => Some(&**config),
            _ => None,
        };
        let uses_nft = settings.masquerade.is_some() || settings.mac_spoof_check;
        Ok(weft_attach::status(
            &mut host,
            request,
            &settings.bridge,
            ipam,
            uses_nft,
        )?)
    }
}

/// Checks a configuration without a container.
///
/// # Errors
/// Code 7 with every problem; code 2 for unknown keys if the configuration is strict.
pub fn validate(request: &Request) -> Result<(), CniError> {
    config::read(request).map(drop)
}
