//! What all plugins do alike that add something to an interface that another one has made.

mod ends;
pub mod record;

pub use ends::Ends;

use ipnetwork::IpNetwork;
use weft_cni::{CniError, CniResult, Declaration, Plugin, Request};
use weft_node::{Host, WeftError};

use crate::interface::{turn, turn_of_del};

/// A chained plugin: its declaration, how it reads its configuration, and what it does with it.
#[derive(Debug, Clone, Copy)]
pub struct ChainedPlugin<T> {
    /// Its names and keys.
    pub declaration: Declaration,
    /// Reads the configuration; every problem is in the error.
    pub read: fn(&Request) -> Result<T, CniError>,
    /// Adds what is wanted and returns the result of the plugins before; everything is as it was if
    /// it fails.
    pub add: fn(&mut Host, &'static str, &Request, &T) -> Result<CniResult, WeftError>,
    /// Takes back what the records say. Without any there is nothing.
    pub del: fn(&mut Host, &Request) -> Result<(), WeftError>,
    /// Compares the kernel and the records with what is wanted.
    pub check: fn(&mut Host, &Request, &T) -> Result<(), WeftError>,
    /// Says why an ADD would fail now, if one would, for a reason that only this plugin has.
    pub status: fn(&mut Host, &T) -> Result<(), WeftError>,
    /// Whether it works with nf_tables.
    pub needs_nft: bool,
}

/// For [`ChainedPlugin::status`] of a plugin with no reason of its own.
pub const fn always_ready<T>(_: &mut Host, _: &T) -> Result<(), WeftError> {
    Ok(())
}

/// The addresses of the container's interface in the result of the plugins before.
pub fn own_addresses(result: &CniResult, ifname: &str) -> Vec<IpNetwork> {
    let is_own = |index: Option<usize>| match index {
        None => true,
        Some(index) => result
            .interfaces
            .get(index)
            .is_some_and(|one| one.name == ifname && !one.sandbox.is_empty()),
    };
    result
        .ips
        .iter()
        .filter(|ip| is_own(ip.interface))
        .map(|ip| ip.address)
        .collect()
}

fn host(request: &Request) -> Result<Host, CniError> {
    let host = Host::of_environment(&request.env)?;
    host.require_store(&request.conf)?;
    Ok(host)
}

impl<T> Plugin for ChainedPlugin<T> {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    fn validate(&self, request: &Request) -> Result<(), CniError> {
        (self.read)(request).map(drop)
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let wanted = (self.read)(request)?;
        let mut host = host(request)?;
        let _turn = turn(&host, request)?;
        Ok((self.add)(&mut host, self.name(), request, &wanted)?)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        let mut host = Host::that_holds(&request.env, &request.conf.name)?;
        let _turn = turn_of_del(&host, request)?;
        Ok((self.del)(&mut host, request)?)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let wanted = (self.read)(request)?;
        Ok((self.check)(&mut host(request)?, request, &wanted)?)
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        Ok(crate::gc(
            &mut Host::of_environment(&request.env)?,
            request,
            false,
        )?)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let wanted = (self.read)(request)?;
        let mut host = host(request)?;
        crate::status::ipam_status(&host, request, None)?;
        (self.status)(&mut host, &wanted)?;
        if self.needs_nft {
            let generation = host.nft().and_then(|nft| Ok(nft.generation()?));
            generation.map(drop).map_err(crate::status::unavailable)?;
        }
        Ok(())
    }
}
