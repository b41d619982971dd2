//! What weft-bridge wants.

use serde_json::{Map, Value};
use weft_kernel::bridge::PortOptions;
use weft_store::Isolation;

use super::Mtu;

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
    /// What the bridge does with the host's end of the pair.
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
    /// From where connections to the containers may begin.
    pub isolation: Isolation,
    /// The group of networks that reach each other.
    pub mesh: Option<String>,
    /// The network that this one and its siblings, but not each other, reach.
    pub parent: Option<String>,
    /// Rules of the network's own, as they are written.
    pub policy: Option<Map<String, Value>>,
    /// STATUS does not look at other people's chains.
    pub ignores_foreign_firewall: bool,
    /// No frames from port to port: even neighbours have to go by the host.
    pub alone: bool,
    /// It is an overlay's, which the daemon makes.
    pub overlay: Option<OverlayPlan>,
    /// Remove shared objects with their last user.
    pub cleanup: bool,
}

/// What a bridge's containers share with those of other hosts.
#[derive(Debug, Clone)]
pub struct OverlayPlan {
    /// The interface by which the others are reached, unless it is a port of the bridge.
    pub device: Option<String>,
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
