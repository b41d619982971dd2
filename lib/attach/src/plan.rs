//! What an interface plugin wants: its configuration, understood and free of contradictions.

use ipnetwork::IpNetwork;
use std::net::IpAddr;

use weft_cni::result::Dns;
use weft_cni::{AttachmentId, SpecVersion};
use weft_kernel::Mac;
use weft_kernel::address::DuplicateDetection;
use weft_kernel::bridge::PortOptions;

use crate::ipam::IpamConfig;

/// One attachment to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose.
    pub id: AttachmentId,
    /// The plugin that makes it.
    pub plugin: &'static str,
    /// The version to speak, which limits what a result can say.
    pub version: SpecVersion,
    /// The host side.
    pub bridge: BridgePlan,
    /// The container side.
    pub container: ContainerPlan,
    /// Where addresses come from.
    pub ipam: Ipam,
    /// Traffic to outside takes the host's address.
    pub masquerade: Option<Masquerade>,
    /// Frames with another source MAC than the container's are dropped.
    pub mac_spoof_check: bool,
    /// Resolver settings that replace IPAM's, unless empty.
    pub dns: Dns,
    /// A digest of the configuration.
    pub config_digest: String,
}

/// A bridge and the container's port on it.
#[derive(Debug, Clone)]
pub struct BridgePlan {
    /// The bridge's name.
    pub name: String,
    /// The MTU of the bridge, if it is made, and of both ends of the pair.
    pub mtu: Mtu,
    /// The bridge holds the gateway addresses and the host forwards.
    pub is_gateway: bool,
    /// The container's default route is through the bridge.
    pub is_default_gateway: bool,
    /// A conflicting gateway address on the bridge is replaced.
    pub force_address: bool,
    /// The bridge takes in all frames.
    pub promiscuous: bool,
    /// The port's options.
    pub port: PortOptions,
    /// The VLAN of untagged frames.
    pub vlan: Option<u16>,
    /// The VLANs of tagged frames, ascending.
    pub trunk: Vec<u16>,
    /// The port stays in the bridge's default VLAN too.
    pub preserve_default_vlan: bool,
    /// Link-local group addresses the bridge forwards.
    pub group_forward_mask: Option<u16>,
    /// A host interface to be made a port.
    pub uplink: Option<String>,
    /// What nobody uses any more is removed.
    pub cleanup: bool,
}

impl BridgePlan {
    /// The interface that holds the gateway addresses.
    pub fn gateway_link(&self) -> String {
        match self.vlan {
            Some(vlan) => format!("{}.{vlan}", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether the bridge has to tell VLANs apart.
    pub fn filters_vlans(&self) -> bool {
        self.vlan.is_some() || !self.trunk.is_empty()
    }
}

/// An MTU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtu {
    /// The bridge's, if there is one, else that of the interface with the default route.
    Auto,
    /// So many bytes.
    Bytes(u32),
}

/// The interface in the container.
#[derive(Debug, Clone)]
pub struct ContainerPlan {
    /// The namespace's path.
    pub netns: String,
    /// The namespace may be the plugin's own.
    pub netns_override: bool,
    /// Its MAC; derived if none.
    pub mac: Option<Mac>,
    /// It is brought up.
    pub up: bool,
    /// Duplicate detection of IPv6 addresses.
    pub detection: DuplicateDetection,
}

/// Where addresses come from.
#[derive(Debug, Clone)]
pub enum Ipam {
    /// There are none.
    None,
    /// From Weft's store, in the same transaction as the record.
    Store(Box<IpamConfig>),
    /// From another plugin.
    Delegate(crate::ipam::DelegateIpam),
}

/// How the source address of traffic to outside is rewritten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masquerade {
    /// Destinations that see the container's own address.
    pub exclude: Vec<IpNetwork>,
    /// Instead of the outgoing interface's address, this one (one per family at most).
    pub to: Vec<IpAddr>,
    /// IPv6 addresses are left alone.
    pub ipv4_only: bool,
}
