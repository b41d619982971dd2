//! The life of one attachment, shared by all of Weft's interface plugins.
//!
//! An ADD turns a validated [`Plan`] into an attachment record (one store transaction) and then
//! into kernel objects; every other verb works from the record. What a record names can always be
//! found and removed, so a failed or killed ADD is cleaned by the same code as a DEL.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod add;
pub mod chained;
mod check;
pub mod conf;
pub mod dead;
pub mod del;
pub mod delegate;
mod differences;
pub mod doctor;
pub mod gc;
mod interface;
mod kinds;
mod plan;
mod rebuild;
mod status;
pub mod steps;
mod sysctls;

pub use add::add;
pub use chained::ChainedPlugin;
pub use check::{check, require_prev_result};
pub use del::del;
pub use differences::Differences;
pub use gc::{gc, gc_all};
pub use interface::InterfacePlugin;
pub use plan::{
    BridgePlan, ChildPlan, DeviceSelector, Given, HostAccess, HostPlan, Ipam, LinkPlan, MovedPlan,
    Mtu, OverlayPlan, Plan, Settings, container_labels, container_name,
};
pub use rebuild::{RebuildReport, rebuild};
pub use status::{ipam_status, status};
pub use steps::host_access::mend_host_access;
pub use sysctls::Sysctls;
