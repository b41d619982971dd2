//! VLANs of bridge ports.

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, LinkAttribute, LinkMessage,
};

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, kind};

/// struct br_vlan_msg: family, three reserved bytes, interface index.
const VLAN_HEADER_BYTES: usize = 8;
const BRIDGE_VLANDB_ENTRY: u16 = 1;
const BRIDGE_VLANDB_ENTRY_INFO: u16 = 1;
const BRIDGE_VLANDB_ENTRY_RANGE: u16 = 2;
const PVID: u16 = 1 << 1;
const UNTAGGED: u16 = 1 << 2;

/// The VLAN a fresh bridge puts every port into (`vlan_default_pvid`).
pub const DEFAULT_VLAN: u16 = 1;

/// How a port takes part in a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Membership {
    /// Frames carry the tag.
    Tagged,
    /// Frames come and go without a tag: the port's own VLAN.
    Native,
}

/// One VLAN of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortVlan {
    /// VLAN id, 1 to 4094.
    pub id: u16,
    /// How.
    pub membership: Membership,
}

fn message(index: u32, vlan: BridgeVlanInfo) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.interface_family = AddressFamily::Bridge;
    link.header.index = index;
    link.attributes
        .push(LinkAttribute::AfSpecBridge(vec![AfSpecBridge::VlanInfo(
            vlan,
        )]));
    link
}

/// Puts a port, by index, into a VLAN.
pub fn add(index: u32, vlan: PortVlan, batch: &mut Batch) {
    let flags = match vlan.membership {
        Membership::Tagged => BridgeVlanInfoFlags::empty(),
        Membership::Native => BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged,
    };
    let info = BridgeVlanInfo {
        flags,
        vid: vlan.id,
    };
    let words = format!("put link {index} into VLAN {}", vlan.id);
    batch.push(kind::SET_LINK, &message(index, info), 0, words);
}

/// Takes a port out of a VLAN.
pub fn remove(index: u32, id: u16, batch: &mut Batch) {
    let info = BridgeVlanInfo {
        flags: BridgeVlanInfoFlags::empty(),
        vid: id,
    };
    let words = format!("take link {index} out of VLAN {id}");
    batch.push(kind::DELETE_LINK, &message(index, info), 0, words);
}

/// The VLANs of one port, ascending.
///
/// # Errors
/// The socket's.
pub fn list(socket: &mut RouteSocket, index: u32) -> Result<Vec<PortVlan>, KernelError> {
    let mut header = vec![AF_BRIDGE, 0, 0, 0];
    header.extend(index.to_ne_bytes());
    let words = format!("list the VLANs of link {index}");
    let mut vlans = Vec::new();
    for payload in socket.dump(kind::GET_VLAN, &header, &words)? {
        let body = payload.get(VLAN_HEADER_BYTES..).unwrap_or_default();
        for (kind, entry) in crate::nft::attributes(body) {
            if kind == BRIDGE_VLANDB_ENTRY {
                vlans.extend(read_entry(entry));
            }
        }
    }
    vlans.sort_unstable();
    Ok(vlans)
}

const AF_BRIDGE: u8 = 7;

fn read_entry(entry: &[u8]) -> Vec<PortVlan> {
    let mut first = None;
    let mut last = None;
    for (kind, value) in crate::nft::attributes(entry) {
        match (kind, value) {
            (BRIDGE_VLANDB_ENTRY_INFO, [f0, f1, v0, v1, ..]) => {
                let flags = u16::from_ne_bytes([*f0, *f1]);
                first = Some((u16::from_ne_bytes([*v0, *v1]), flags));
            }
            (BRIDGE_VLANDB_ENTRY_RANGE, [v0, v1, ..]) => {
                last = Some(u16::from_ne_bytes([*v0, *v1]));
            }
            _ => {}
        }
    }
    let Some((id, flags)) = first else {
        return Vec::new();
    };
    let native = flags & (PVID | UNTAGGED) == PVID | UNTAGGED;
    let membership = if native {
        Membership::Native
    } else {
        Membership::Tagged
    };
    (id..=last.unwrap_or(id))
        .map(|id| PortVlan { id, membership })
        .collect()
}
