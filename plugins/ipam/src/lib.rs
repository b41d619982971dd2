//! weft-ipam: addresses for any interface plugin (`"ipam": {"type": "weft-ipam"}`).
//!
//! Takes the configuration of the reference plugins `host-local` and `static`. Weft's own interface
//! plugins do not execute it: they lease from the same store themselves.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod serve;

use serve::{serve_add, serve_check, serve_del, serve_gc, serve_status};
use weft_cni::conf::KeyTable;
use weft_cni::{CniError, CniResult, Declaration, Plugin, Request};
use weft_ipam::{IPAM_KEYS, RANGE_KEYS, STATIC_KEYS};
use weft_node::Host;

const DECLARATION: Declaration = Declaration {
    name: weft_attach::delegate::OWN_TYPE,
    other_names: &weft_attach::delegate::OTHER_NAMES,
    intro: "Addresses for any interface plugin. It has no keys outside `ipam`.",
    keys: &[],
    objects: &[
        KeyTable {
            title: "`ipam`",
            intro: "The keys of host-local and static, and more.",
            keys: IPAM_KEYS,
        },
        KeyTable {
            title: "a range",
            intro: "Entries of the lists in `ranges` and in the capability `ipRanges`.",
            keys: RANGE_KEYS,
        },
        KeyTable {
            title: "a fixed address",
            intro: "Entries of `addresses`.",
            keys: STATIC_KEYS,
        },
    ],
};

/// The plugin.
#[derive(Debug, Clone, Copy)]
pub struct WeftIpam;

impl Plugin for WeftIpam {
    fn declaration(&self) -> &Declaration {
        &DECLARATION
    }

    fn validate(&self, request: &Request) -> Result<(), CniError> {
        serve::read(request).map(drop)
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        Ok(serve_add(&mut host(request)?, self.name(), request)?)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        Ok(serve_del(
            &mut Host::that_holds(&request.env, &request.conf.name)?,
            request,
        )?)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        Ok(serve_check(&mut host(request)?, request)?)
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        Ok(serve_gc(&mut Host::of_environment(&request.env)?, request)?)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        Ok(serve_status(&mut host(request)?, request)?)
    }
}

fn host(request: &Request) -> Result<Host, CniError> {
    let host = Host::of_environment(&request.env)?;
    host.require_store(&request.conf)?;
    Ok(host)
}
