//! This machine as Weft sees it: its store, its sockets, network namespaces, names that derive from an
//! attachment's identity, and the one error type of everything that is done to it.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod config;
pub mod default_route;
mod error;
mod host;
pub mod names;
pub mod namespaces;

pub use config::{DnsDefaults, HostConfig, NetworkDefaults};
pub use error::{Users, WeftError, with_cleanup_failure};
pub use host::{Container, Host};
