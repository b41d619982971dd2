//! The life of one attachment, shared by all of Weft's interface plugins.
//!
//! An ADD turns a validated [`Plan`] into an attachment record (one store transaction) and then
//! into kernel objects; every other verb works from the record. What a record names can always be
//! found and removed, so a failed or killed ADD is cleaned by the same code as a DEL.

mod add;
pub mod bandwidth;
mod chained;
mod check;
pub mod conf;
mod dead;
mod del;
pub mod doctor;
mod ends;
mod error;
pub mod firewall;
pub mod firewall_state;
mod foreign;
mod gc;
mod host;
mod interface;
pub mod ipam;
mod names;
mod namespaces;
mod plan;
pub mod policy;
pub mod portmap;
mod rebuild;
mod ruleset;
mod status;
mod steps;
mod sysctls;
pub mod tuning;

pub use add::add;
pub use chained::ChainedPlugin;
pub use check::{check, require_prev_result};
pub use del::{Target, del, detach_container};
pub use error::{AttachError, Users};
pub use foreign::obstacles;
pub use gc::{GcScope, collect, gc, gc_all};
pub use host::Host;
pub use interface::InterfacePlugin;
pub use names::{config_digest, host_link_name, owner};
pub use plan::{
    BridgePlan, ChildPlan, DevicePlan, DeviceSelector, Given, HostAccess, Ipam, LinkPlan,
    Masquerade, Mtu, Plan, Settings,
};
pub use rebuild::{RebuildReport, rebuild};
pub use ruleset::Limits;
pub use status::status;
pub use sysctls::Sysctls;
pub use weft_store::Isolation;
