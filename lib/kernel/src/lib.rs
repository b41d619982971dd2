//! What the Linux kernel does for containers, as typed requests.
//!
//! Mechanism only: nothing here knows of CNI, of attachments or of Weft's names. Messages are built
//! by pure functions and sent in batches over blocking sockets; a socket stays in the network
//! namespace it was opened in, so one is opened per namespace and no namespace is entered again.

pub mod address;
pub mod bridge;
pub mod child;
pub mod conntrack;
pub mod error;
pub mod forwarding;
pub mod host;
pub mod ingress;
pub mod link;
pub mod listener;
pub mod monitor;
pub mod neighbour;
pub mod netlink;
pub mod netns;
pub mod nexthop;
pub mod nft;
pub mod policy_routing;
pub mod qdisc;
pub mod route;
pub mod rule;
mod socket_diag;
pub mod sysctl;
pub mod vlan;
pub mod vxlan;

pub use error::KernelError;
pub use netns::NetNs;
