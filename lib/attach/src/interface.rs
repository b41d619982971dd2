//! What all interface plugins do alike, whatever their interface is.

use weft_cni::{CniError, CniResult, Declaration, Plugin, Request};
use weft_node::{Host, WeftError};
use weft_store::{PlaceLock, StoreError};

use crate::plan::{Plan, Settings};

/// An interface plugin: its declaration, and how it reads its configuration. The rest is in this crate.
#[derive(Debug, Clone, Copy)]
pub struct InterfacePlugin {
    /// Its names and keys.
    pub declaration: Declaration,
    /// Reads the configuration; every problem is in the error.
    pub read: fn(&Request) -> Result<Settings, CniError>,
}

/// Of two calls that add or remove one attachment the later one waits for the first: it counts, and finds all that the
/// first has made.
pub(crate) fn turn(host: &Host, request: &Request) -> Result<PlaceLock, WeftError> {
    let (container, _) = request.env.container()?;
    Ok(host.store.attachment_lock(&request.conf.name, &container)?)
}

/// The same for a DEL: where there can be no lock there is no ADD either.
pub(crate) fn turn_of_del(host: &Host, request: &Request) -> Result<Option<PlaceLock>, WeftError> {
    match turn(host, request) {
        Err(WeftError::Store(error @ StoreError::Io { .. })) => {
            tracing::warn!(%error, "DEL does not wait for other calls");
            Ok(None)
        }
        outcome => outcome.map(Some),
    }
}

impl Plugin for InterfacePlugin {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    fn validate(&self, request: &Request) -> Result<(), CniError> {
        (self.read)(request).map(drop)
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let plan = Plan::new(self.name(), request, (self.read)(request)?)?;
        let mut host = Host::of_environment(&request.env)?;
        host.require_store(&request.conf)?;
        let _turn = turn(&host, request)?;
        Ok(crate::add(&mut host, &plan)?)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        let mut host = Host::that_holds(&request.env, &request.conf.name)?;
        let _turn = turn_of_del(&host, request)?;
        Ok(crate::del(&mut host, request)?)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let settings = (self.read)(request)?;
        let mut host = Host::of_environment(&request.env)?;
        host.require_store(&request.conf)?;
        Ok(crate::check(&mut host, request, &settings)?)
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        // A configuration that cannot be read does not keep GC from collecting what is recorded.
        let is_inside =
            (self.read)(request).is_ok_and(|settings| settings.link.kind().is_seen_inside_only());
        let mut host = Host::of_environment(&request.env)?;
        Ok(crate::gc(&mut host, request, is_inside)?)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let settings = (self.read)(request)?;
        let mut host = Host::of_environment(&request.env)?;
        host.require_store(&request.conf)?;
        Ok(crate::status(&mut host, request, &settings)?)
    }
}
