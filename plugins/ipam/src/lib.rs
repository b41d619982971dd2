//! weft-ipam: addresses for any interface plugin (`"ipam": {"type": "weft-ipam"}`).
//!
//! Takes the configuration of the reference plugins `host-local` and `static`. Weft's own interface
//! plugins do not execute it: they lease from the same store themselves.

use weft_attach::Host;
use weft_attach::ipam::{self, serve_add, serve_check, serve_del, serve_gc, serve_status};
use weft_cni::{CniError, CniResult, Plugin, Request};

/// The plugin.
#[derive(Debug, Clone, Copy)]
pub struct WeftIpam;

impl Plugin for WeftIpam {
    fn name(&self) -> &'static str {
        ipam::OWN_TYPE
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        Ok(serve_add(&mut host(request)?, self.name(), request)?)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        Ok(serve_del(&mut host(request)?, request)?)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        Ok(serve_check(&mut host(request)?, request)?)
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        Ok(serve_gc(&mut host(request)?, request)?)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        Ok(serve_status(&mut host(request)?, request)?)
    }
}

fn host(request: &Request) -> Result<Host, CniError> {
    Host::new(&request.env, Some(&request.conf))
}
