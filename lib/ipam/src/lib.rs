//! Pools of addresses: how configurations describe them, and how addresses are leased from Weft's store.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod allocate;
mod cidr;
mod config;
mod keys;
mod ranges;
pub mod resolv_conf;

pub use allocate::{Allocation, allocate, is_exhausted, remember};
pub use config::{IpamConfig, StaticAddress, network_of, refuse_mistyped};
pub use keys::{IPAM_KEYS, RANGE_KEYS, STATIC_KEYS};
