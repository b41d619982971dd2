//! Linux bridges and their ports.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    BridgeBooleanOptionFlags, BridgeBooleanOptions, BridgePortState, InfoBridge, InfoBridgePort,
    InfoData, InfoKind, InfoPortData, InfoPortKind, LinkAttribute, LinkInfo, LinkMessage,
};

use crate::netlink::{Batch, kind};
use weft_cni::Mac;

/// A bridge to be made.
#[derive(Debug, Clone)]
pub struct NewBridge<'a> {
    /// Of the bridge, 15 bytes at most.
    pub name: &'a str,
    /// Its address. A bridge without one takes its lowest port's, and changes it with them.
    pub mac: Mac,
    /// In bytes.
    pub mtu: u32,
    /// Filter by VLAN.
    pub vlan_filtering: bool,
    /// Link-local group addresses (01-80-C2-00-00-0X) to forward, as bits.
    pub group_forward_mask: Option<u16>,
    /// The group of links that it is in.
    pub group: u32,
}

impl NewBridge<'_> {
    /// Makes the bridge, which is down.
    pub fn create(&self, batch: &mut Batch) {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(self.name.to_owned()),
            LinkAttribute::Address(self.mac.0.to_vec()),
            LinkAttribute::Mtu(self.mtu),
            LinkAttribute::Group(self.group),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(self.options())),
            ]),
        ];
        let words = format!("create bridge {}", self.name);
        batch.push(kind::NEW_LINK, &link, NLM_F_CREATE | NLM_F_EXCL, words);
    }

    fn options(&self) -> Vec<InfoBridge> {
        // A kernel without VLAN filtering refuses the attribute even to switch it off.
        let mut options = vec![do_not_learn_link_local()];
        if self.vlan_filtering {
            options.push(InfoBridge::VlanFiltering(true));
        }
        options.extend(self.group_forward_mask.map(InfoBridge::GroupFwdMask));
        options
    }
}

/// Frames to link-local group addresses (01-80-C2-00-00-0X) pass by the hook where frames enter a bridge,
/// so that nothing can look at them, and a bridge learns from them all the same, unless it is told
/// (`BR_BOOLOPT_NO_LL_LEARN`, Linux 5.0; older kernels do not know the attribute and go on).
fn do_not_learn_link_local() -> InfoBridge {
    let flag = BridgeBooleanOptionFlags::NoLinkLocalLearn;
    InfoBridge::MultiBoolOpt(BridgeBooleanOptions {
        value: flag,
        mask: flag,
    })
}

/// What is to change of a bridge that exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BridgeChange {
    /// It is to filter by VLAN.
    pub vlan_filtering: bool,
    /// Another group forward mask.
    pub group_forward_mask: Option<u16>,
    /// It is no more to learn from frames to link-local group addresses.
    pub no_link_local_learning: bool,
}

/// Changes a bridge that exists.
pub fn configure(name: &str, change: BridgeChange, batch: &mut Batch) {
    if change == BridgeChange::default() {
        return;
    }
    let mut options = Vec::new();
    if change.no_link_local_learning {
        options.push(do_not_learn_link_local());
    }
    if change.vlan_filtering {
        options.push(InfoBridge::VlanFiltering(true));
    }
    options.extend(change.group_forward_mask.map(InfoBridge::GroupFwdMask));
    let mut link = LinkMessage::default();
    link.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(options)),
        ]),
    ];
    batch.push(kind::NEW_LINK, &link, 0, format!("configure bridge {name}"));
}

/// What a bridge is set to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BridgeState {
    /// It filters by VLAN.
    pub vlan_filtering: bool,
    /// Bit X forwards frames to 01-80-C2-00-00-0X (`IFLA_BR_GROUP_FWD_MASK`).
    pub group_forward_mask: u16,
    /// It learns nothing from frames to link-local group addresses.
    pub no_link_local_learning: bool,
}

impl BridgeState {
    pub(crate) fn read(list: &[InfoBridge]) -> Self {
        let mut state = Self::default();
        for info in list {
            match info {
                InfoBridge::VlanFiltering(on) => state.vlan_filtering = *on,
                InfoBridge::GroupFwdMask(mask) => state.group_forward_mask = *mask,
                InfoBridge::MultiBoolOpt(options) => {
                    let flag = BridgeBooleanOptionFlags::NoLinkLocalLearn;
                    state.no_link_local_learning = options.value.contains(flag);
                }
                _ => {}
            }
        }
        state
    }
}

/// Options of a bridge port that Weft sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortOptions {
    /// Frames may leave by the port they came in.
    pub hairpin: bool,
    /// No frames to and from other isolated ports.
    pub isolated: bool,
    /// The port is closed when a bridge's own frame (BPDU, IEEE 802.1D) comes in by it, where the spanning tree protocol
    /// is on.
    pub bpdu_guard: bool,
}

impl PortOptions {
    pub(crate) fn attributes(self) -> Vec<InfoBridgePort> {
        vec![
            InfoBridgePort::HairpinMode(self.hairpin),
            InfoBridgePort::Isolated(self.isolated),
            InfoBridgePort::Guard(self.bpdu_guard),
        ]
    }
}

/// Whether questions for MACs (ARP, neighbour discovery) that the bridge can answer leave by a port.
pub fn suppress_questions(port: u32, on: bool, batch: &mut Batch) {
    let mut link = LinkMessage::default();
    link.header.index = port;
    link.attributes = vec![LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![
            InfoBridgePort::NeighSupress(on),
        ])),
    ])];
    let words = format!("bridge port {port}: suppress neighbours' questions: {on}");
    batch.push(kind::NEW_LINK, &link, 0, words);
}

/// What a bridge port is set to, and whether it passes frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortState {
    /// What the kernel has, to be compared with what should be.
    pub options: PortOptions,
    /// The port's STP state is forwarding.
    pub is_forwarding: bool,
    /// Questions for MACs (ARP, neighbour discovery) that the bridge can answer do not leave by it.
    pub suppresses_questions: bool,
}

impl PortState {
    pub(crate) fn read(list: &[InfoBridgePort]) -> Self {
        let mut state = Self::default();
        for info in list {
            match info {
                InfoBridgePort::HairpinMode(on) => state.options.hairpin = *on,
                InfoBridgePort::Isolated(on) => state.options.isolated = *on,
                InfoBridgePort::Guard(on) => state.options.bpdu_guard = *on,
                InfoBridgePort::NeighSupress(on) => state.suppresses_questions = *on,
                InfoBridgePort::State(port) => {
                    state.is_forwarding = *port == BridgePortState::Forwarding;
                }
                _ => {}
            }
        }
        state
    }
}
