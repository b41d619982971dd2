//! Addresses: from Weft's store or from another IPAM plugin.

mod allocate;
mod config;
mod delegate;
mod keys;
mod ranges;
mod resolv_conf;
mod serve;

pub use allocate::{Allocation, allocate, is_exhausted, remember};
pub(crate) use config::network_of;
pub use config::{IpamConfig, StaticAddress, refuse_mistyped};
pub use delegate::{DelegateIpam, foreign_type, is_own_type};
pub use keys::{IPAM_KEYS, RANGE_KEYS, STATIC_KEYS};
pub use serve::{serve_add, serve_check, serve_del, serve_gc, serve_status};

/// The IPAM type that Weft's interface plugins serve themselves.
pub const OWN_TYPE: &str = "weft-ipam";
