//! weft-loopback: brings a container's loopback interface up.
//!
//! Some runtimes (containerd's CRI) run such a plugin for every pod. It keeps no state: the
//! interface comes and goes with the namespace. A previous result is passed on.
//!
//! Why it is so: docs/decisions/calls.md.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use weft_cni::result::{Interface, IpConfig};
use weft_cni::{CniError, CniResult, Code, Declaration, Plugin, Request};
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::{KernelError, NetNs};

const LOOPBACK: &str = "lo";

const DECLARATION: Declaration = Declaration {
    name: "weft-loopback",
    other_names: &["loopback"],
    intro: "Brings the container's loopback interface up. It has no keys.",
    keys: &[],
    objects: &[],
};

/// The plugin.
#[derive(Debug, Clone, Copy)]
pub struct Loopback;

impl Plugin for Loopback {
    fn declaration(&self) -> &Declaration {
        &DECLARATION
    }

    fn validate(&self, _: &Request) -> Result<(), CniError> {
        Ok(())
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let (mut socket, lo) = open(request)?;
        let mut batch = Batch::new();
        link::set_up(lo.index, &mut batch);
        socket.commit(batch).map_err(kernel_error)?;
        match request.conf.prev_result()? {
            Some(prev) => Ok(prev),
            None => Ok(own_result(request)),
        }
    }

    /// The interface goes with its namespace. By the path that a DEL names there may be another container's by now,
    /// or the host's: nothing tells whose it is, so it is left alone.
    fn del(&self, _: &Request) -> Result<(), CniError> {
        Ok(())
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        request.conf.prev_result()?.ok_or_else(|| {
            CniError::new(
                Code::InvalidConfig,
                "prevResult: CHECK needs the result of the ADD",
            )
        })?;
        let (_, lo) = open(request)?;
        if lo.is_up {
            Ok(())
        } else {
            Err(CniError::new(Code::CheckFailed, "interface lo is down")
                .with_details("[\"interface lo is down\"]"))
        }
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        request.conf.valid_attachments().map(drop)
    }

    fn status(&self, _: &Request) -> Result<(), CniError> {
        Ok(())
    }
}

fn kernel_error(error: KernelError) -> CniError {
    let code = if error.concerns_netns() {
        Code::NetnsUnusable
    } else {
        Code::Kernel
    };
    CniError::new(code, error.full_text())
}

fn open(request: &Request) -> Result<(RouteSocket, Link), CniError> {
    let path = request.env.get("CNI_NETNS").unwrap_or_default();
    let netns = NetNs::open(Path::new(path)).map_err(kernel_error)?;
    let home = NetNs::current().map_err(kernel_error)?;
    if netns == home && !request.env.netns_override() {
        let text = format!("CNI_NETNS: {path} is the network namespace the plugin runs in");
        return Err(CniError::new(Code::InvalidNetns, text));
    }
    let mut socket = RouteSocket::open_in(&netns, &home).map_err(kernel_error)?;
    let lo = link::find(&mut socket, LOOPBACK).map_err(kernel_error)?;
    let missing = || CniError::new(Code::NetnsUnusable, format!("{path} has no interface lo"));
    Ok((socket, lo.ok_or_else(missing)?))
}

fn own_result(request: &Request) -> CniResult {
    let address = |ip, prefix| ipnetwork::IpNetwork::new(ip, prefix).ok();
    let addresses = [
        address(Ipv4Addr::LOCALHOST.into(), 8),
        address(Ipv6Addr::LOCALHOST.into(), 128),
    ];
    CniResult {
        interfaces: vec![Interface {
            name: LOOPBACK.to_owned(),
            mac: "00:00:00:00:00:00".to_owned(),
            sandbox: request.env.get("CNI_NETNS").unwrap_or_default().to_owned(),
            ..Interface::default()
        }],
        ips: addresses
            .into_iter()
            .flatten()
            .map(|address| IpConfig {
                interface: Some(0),
                address,
                gateway: None,
            })
            .collect(),
        ..CniResult::default()
    }
}
