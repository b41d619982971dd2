//! Network interfaces: messages that make, change and delete them, and what the kernel tells of
//! them.

mod change;
mod counters;
mod travel;
mod veth;

use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, InfoData, InfoPortData, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkMessage, LinkMode, LinkXdp, Prop, State,
};

pub use change::{
    Change, delete, delete_group, delete_index, remove_xdp, set_alias, set_controller, set_down,
    set_flags, set_group, set_mac, set_promiscuous, set_up,
};
pub use counters::{Counters, all_counters, counters};
pub use travel::{add_alternative_name, move_to, remove_alternative_name, rename};
pub use veth::VethPair;

use crate::bridge::{BridgeState, PortState};
use crate::child::ChildKind;
use crate::error::KernelError;
use crate::netlink::{RouteSocket, bytes_of, kind, parsed};
use crate::vxlan::Vxlan;
use weft_cni::Mac;

fn by_index(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link
}

/// A link as the kernel describes it.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// `IFLA_IFNAME`.
    pub name: String,
    /// Alias, empty if none.
    pub alias: String,
    /// Ethernet address.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub is_up: bool,
    /// It takes no part in ARP (IFF_NOARP).
    pub is_without_arp: bool,
    /// It is a loopback interface.
    pub is_loopback: bool,
    /// Those of its flags (`IFF_*`) that can be changed besides being up.
    pub changeable_flags: u32,
    /// It is not to be up before another program says so (`IF_LINK_MODE_DORMANT`).
    pub is_dormant: bool,
    /// Its carrier was taken away (`protodown`).
    pub is_proto_down: bool,
    /// Promiscuous mode was asked for.
    pub is_promiscuous: bool,
    /// All multicast frames were asked for.
    pub is_all_multicast: bool,
    /// Length of the transmit queue.
    pub tx_queue_len: u32,
    /// The address the hardware came with.
    pub permanent_mac: Option<Mac>,
    /// More names.
    pub alternative_names: Vec<String>,
    /// Index of the link it sits on (or of its peer), in that one's namespace.
    pub parent: Option<u32>,
    /// What it is, if it sits on another.
    pub child: Option<ChildKind>,
    /// RFC 2863 state is up.
    pub is_operational: bool,
    /// Index of the bridge it is a port of.
    pub controller: Option<u32>,
    /// Group of links.
    pub group: u32,
    /// How programs that decide over what it receives are attached: `XDP_FLAGS_*` (linux/if_link.h).
    pub xdp_modes: Vec<u32>,
    /// Driver: `veth`, `bridge`.
    pub kind: Option<String>,
    /// The host's own packets to 127.0.0.0/8 may leave by it.
    pub routes_localnet: bool,
    /// IPv4 packets that come by it are forwarded, if the namespace forwards.
    pub forwards_ipv4: bool,
    /// Its IPv6 settings; none without IPv6.
    pub ipv6: Option<Ipv6Settings>,
    /// Id of its peer's or parent's namespace, seen from the link's own; none if it is the same.
    pub peer_netns_id: Option<i32>,
    /// The bridge's state, if it is one.
    pub bridge: Option<BridgeState>,
    /// The port's state, if it is a bridge's.
    pub port: Option<PortState>,
    /// What the tunnel is, if it is a VXLAN device.
    pub vxlan: Option<Vxlan>,
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            is_up: message.header.flags.contains(LinkFlags::Up),
            is_without_arp: message.header.flags.contains(LinkFlags::Noarp),
            is_loopback: message.header.flags.contains(LinkFlags::Loopback),
            changeable_flags: (message.header.flags & change::CHANGEABLE).bits(),
            is_promiscuous: message.header.flags.contains(LinkFlags::Promisc),
            is_all_multicast: message.header.flags.contains(LinkFlags::Allmulti),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::IfAlias(alias) => link.alias = alias,
                LinkAttribute::Address(bytes) => link.mac = Mac::from_slice(&bytes),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::OperState(state) => link.is_operational = state == State::Up,
                LinkAttribute::TxQueueLen(length) => link.tx_queue_len = length,
                LinkAttribute::PermAddress(bytes) => {
                    link.permanent_mac = Mac::from_slice(&bytes);
                }
                LinkAttribute::Link(index) => link.parent = Some(index),
                LinkAttribute::PropList(list) => {
                    let names = list.into_iter().filter_map(|property| match property {
                        Prop::AltIfName(name) => Some(name),
                        _ => None,
                    });
                    link.alternative_names.extend(names);
                }
                LinkAttribute::AfSpecUnspec(families) => {
                    families.iter().for_each(|family| link.read_family(family));
                }
                LinkAttribute::Controller(index) => link.controller = Some(index),
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::Mode(mode) => link.is_dormant = mode == LinkMode::Dormant,
                LinkAttribute::ProtoDown(value) => link.is_proto_down = value != 0,
                LinkAttribute::LinkNetNsId(id) => link.peer_netns_id = Some(id),
                LinkAttribute::LinkInfo(infos) => link.read_info(infos),
                LinkAttribute::Xdp(list) => {
                    link.xdp_modes = list.iter().filter_map(xdp_mode).collect();
                }
                _ => {}
            }
        }
        link
    }
}

/// The flag of the way in which a program is attached.
fn xdp_mode(xdp: &LinkXdp) -> Option<u32> {
    match xdp {
        LinkXdp::SkbProgId(_) => Some(1 << 1),
        LinkXdp::DrvProgId(_) => Some(1 << 2),
        LinkXdp::HwProgId(_) => Some(1 << 3),
        _ => None,
    }
}

/// Settings of an interface below `net/ipv6/conf`, as numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ipv6Settings {
    /// 1: packets are forwarded, and router advertisements are not taken unless `accept_ra` is 2.
    pub forwarding: i32,
    /// `accept_ra`: 1 is if the interface does not forward, 2 is always.
    pub accept_ra: i32,
    /// `disable_ipv6`.
    pub disable_ipv6: i32,
    /// 0: no duplicate detection; 1: an address fails; 2: so does the interface.
    pub accept_dad: i32,
    /// 1: a nonce tells its own looped-back packets from a duplicate (RFC 7527).
    pub enhanced_dad: i32,
    /// 1: unsolicited advertisements when the interface or its MAC changes.
    pub ndisc_notify: i32,
    /// 1: addresses outlive that the link goes down.
    pub keep_addr_on_down: i32,
}

impl Link {
    fn read_family(&mut self, family: &AfSpecUnspec) {
        match family {
            AfSpecUnspec::Inet(settings) => {
                for setting in settings {
                    if let AfSpecInet::DevConf(values) = setting {
                        self.routes_localnet = values.route_localnet != 0;
                        self.forwards_ipv4 = values.forwarding != 0;
                    }
                }
            }
            AfSpecUnspec::Inet6(settings) => {
                for setting in settings {
                    if let AfSpecInet6::DevConf(values) = setting {
                        self.ipv6 = Some(Ipv6Settings {
                            forwarding: values.forwarding,
                            accept_ra: values.accept_ra,
                            disable_ipv6: values.disable_ipv6,
                            accept_dad: values.accept_dad,
                            enhanced_dad: values.enhanced_dad,
                            ndisc_notify: values.ndisc_notify,
                            keep_addr_on_down: values.keep_addr_on_down,
                        });
                    }
                }
            }
            _ => {}
        }
    }

    fn read_info(&mut self, infos: Vec<LinkInfo>) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind.to_string()),
                LinkInfo::Data(InfoData::Bridge(list)) => {
                    self.bridge = Some(BridgeState::read(&list));
                }
                LinkInfo::Data(InfoData::Vxlan(list)) => self.vxlan = Vxlan::read(&list),
                LinkInfo::Data(data) => self.child = ChildKind::read(&data),
                LinkInfo::PortData(InfoPortData::BridgePort(list)) => {
                    self.port = Some(PortState::read(&list));
                }
                _ => {}
            }
        }
    }
}

fn query(attribute: Option<LinkAttribute>, index: u32) -> Vec<u8> {
    let mut link = by_index(index);
    link.attributes.extend(attribute);
    link.attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    bytes_of(&link)
}

/// Finds a link by name.
///
/// # Errors
/// The socket's; an absent link is `Ok(None)`.
pub fn find(socket: &mut RouteSocket, name: &str) -> Result<Option<Link>, KernelError> {
    let words = format!("find link {name}");
    find_by(
        socket,
        &query(Some(LinkAttribute::IfName(name.to_owned())), 0),
        &words,
    )
}

/// Finds a link by index.
///
/// # Errors
/// The socket's; an absent link is `Ok(None)`.
pub fn find_index(socket: &mut RouteSocket, index: u32) -> Result<Option<Link>, KernelError> {
    find_by(socket, &query(None, index), &format!("find link {index}"))
}

fn find_by(
    socket: &mut RouteSocket,
    query: &[u8],
    words: &str,
) -> Result<Option<Link>, KernelError> {
    match socket.get(kind::GET_LINK, query, words) {
        Ok(answer) => Ok(Some(parsed::<LinkMessage>(&answer, words)?.into())),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

fn list_by(socket: &mut RouteSocket, query: &[u8], words: &str) -> Result<Vec<Link>, KernelError> {
    let answers = socket.dump(kind::GET_LINK, query, words)?;
    let link = |answer: &Vec<u8>| Ok(parsed::<LinkMessage>(answer, words)?.into());
    answers.iter().map(link).collect()
}

/// Every link of the namespace.
///
/// # Errors
/// The socket's.
pub fn list(socket: &mut RouteSocket) -> Result<Vec<Link>, KernelError> {
    list_by(socket, &query(None, 0), "list links")
}

/// The links that are ports of a bridge, filtered by the kernel.
///
/// # Errors
/// The socket's.
pub fn ports_of(socket: &mut RouteSocket, bridge: u32) -> Result<Vec<Link>, KernelError> {
    let query = query(Some(LinkAttribute::Controller(bridge)), 0);
    list_by(socket, &query, "list the ports of a bridge")
}
