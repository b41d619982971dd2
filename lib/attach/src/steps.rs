//! What attachments are made of, one kind of kernel object a file: how it is made, and how it goes.

pub mod bandwidth;
pub(crate) mod bridge;
pub(crate) mod carrier;
pub(crate) mod child;
pub(crate) mod container;
pub(crate) mod device;
pub(crate) mod gateway;
pub(crate) mod host_access;
pub mod isolation;
pub(crate) mod links;
pub(crate) mod parent;
pub mod ports;
pub mod route_localnet;
pub(crate) mod router_advertisements;
pub(crate) mod source_routes;
pub(crate) mod subnets;
pub mod tuning;
pub(crate) mod uplink;
pub(crate) mod veth;
pub(crate) mod vlan_gateway;
pub mod warp;

use ipnetwork::IpNetwork;

/// What an ADD has changed on the host besides the attachment's own objects, so that a failed one
/// can take it back.
#[derive(Debug, Default)]
pub(crate) struct Created {
    pub(crate) bridge: Option<String>,
    pub(crate) vlan_gateway: Option<String>,
    pub(crate) vlan_link: Option<String>,
    pub(crate) uplink: Option<String>,
    pub(crate) addresses: Vec<(String, IpNetwork)>,
    pub(crate) replaced_addresses: Vec<(String, IpNetwork)>,
    /// Parameters with the values that they had, in the order in which they were set.
    pub(crate) sysctls: Vec<(String, String)>,
    /// No attachment of Weft's was on the bridge before.
    pub(crate) is_first_on_segment: bool,
    /// The container's interface was made before its addresses were known.
    pub(crate) container_link: bool,
}
