//! Networks and endpoints as people think of them.
//!
//! A network is a CNI configuration, which every runtime reads, and a file with what that cannot hold. [`VNetManager`]
//! makes, lists, changes and removes networks, attaches containers to them by running their plugins as a runtime does,
//! and shows what is there. Networks that were written by hand or by Podman are networks too.
//!
//! ```no_run
#![doc = include_str!("../examples/connect.rs")]
//! ```
//!
//! Why it is so: docs/decisions/networks.md.

#![warn(clippy::wildcard_enum_match_arm)]

mod account;
mod attach;
mod catalogue;
mod collect;
mod compose;
mod config;
mod create;
mod doctor;
mod driver;
mod endpoint;
mod error;
mod isolation;
mod live;
mod metrics;
mod network;
mod options;
mod overlap;
mod pools;
mod remove;
mod request;
mod state;
mod subnets;
mod topology;
mod update;
mod vnet_manager;
mod write;

pub use config::VNetConfig;
pub use create::Made;
pub use driver::DriverType;
pub use endpoint::Endpoint;
pub use error::{VNetError, counted};
pub use isolation::IsolationMode;
pub use live::{EndpointState, InterfaceState, Traffic, Verdict};
pub use metrics::Detail;
pub use network::VirtualNetwork;
pub use overlap::overlapping;
pub use pools::{LeaseView, PoolUse};
pub use remove::{Pruned, Removed};
pub use request::{EndpointRequest, IpRange, NamesRequest, NetworkRequest, NetworkUpdate};
pub use topology::{Connected, Reach};
pub use vnet_manager::{Places, VNetManager};
