//! Network interfaces: messages that make, change and delete them, and what the kernel tells of
//! them.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoPortData, InfoPortKind,
    InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, State,
};

use crate::bridge::{BridgeState, PortOptions, PortState};
use crate::error::KernelError;
use crate::mac::Mac;
use crate::netlink::{Batch, RouteSocket, bytes_of, kind, parsed};

/// A veth pair: one end here, the other made where it belongs.
#[derive(Debug)]
pub struct VethPair<'a, N: AsFd> {
    /// This end's name.
    pub name: &'a str,
    /// This end's address.
    pub mac: Mac,
    /// Both ends' MTU.
    pub mtu: u32,
    /// The bridge this end becomes a port of, by index.
    pub controller: Option<u32>,
    /// The other end's name.
    pub peer_name: &'a str,
    /// The other end's address.
    pub peer_mac: Mac,
    /// The other end's namespace; `None` for the same.
    pub peer_netns: Option<&'a N>,
}

impl<N: AsFd> VethPair<'_, N> {
    /// One request that makes both ends in place (a link that is moved between namespaces costs an
    /// RCU grace period). This end comes up, the other one stays down.
    pub fn create(&self, batch: &mut Batch) {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(self.peer_name.to_owned()),
            LinkAttribute::Address(self.peer_mac.0.to_vec()),
            LinkAttribute::Mtu(self.mtu),
        ];
        if let Some(netns) = self.peer_netns {
            peer.attributes
                .push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
        }
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(self.name.to_owned()),
            LinkAttribute::Address(self.mac.0.to_vec()),
            LinkAttribute::Mtu(self.mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        link.attributes
            .extend(self.controller.map(LinkAttribute::Controller));
        let words = format!("create veth {} with peer {}", self.name, self.peer_name);
        batch.push(kind::NEW_LINK, &link, NLM_F_CREATE | NLM_F_EXCL, words);
    }
}

/// Changes to a link that exists, found by name: what can be set only after it was made.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// Free text, shown by `ip link` (256 bytes at most).
    pub alias: Option<&'a str>,
    /// No IPv6 link-local address of its own: a bridge port needs none.
    pub without_ipv6_address: bool,
    /// Gratuitous ARP when it comes up (`arp_notify`). By netlink, because a look-up below
    /// `/proc/sys/net` costs more with every namespace there is.
    pub announces_ipv4: bool,
    /// Bridge port options.
    pub port: Option<&'a PortOptions>,
    /// Bring it up.
    pub up: bool,
}

impl Change<'_> {
    /// Asks for the change of the link called `name`.
    pub fn apply(&self, name: &str, batch: &mut Batch) {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        link.attributes.extend(
            self.alias
                .map(|text| LinkAttribute::IfAlias(text.to_owned())),
        );
        let mut families = Vec::new();
        if self.without_ipv6_address {
            let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
            families.push(AfSpecUnspec::Inet6(vec![mode]));
        }
        if self.announces_ipv4 {
            families.push(AfSpecUnspec::Other(ipv4_setting(
                IPV4_DEVCONF_ARP_NOTIFY,
                1,
            )));
        }
        if !families.is_empty() {
            link.attributes.push(LinkAttribute::AfSpecUnspec(families));
        }
        if let Some(options) = self.port {
            link.attributes.push(LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(options.attributes())),
            ]));
        }
        if self.up {
            link.header.flags = LinkFlags::Up;
            link.header.change_mask = LinkFlags::Up;
        }
        batch.push(kind::NEW_LINK, &link, 0, format!("configure {name}"));
    }
}

/// linux/ip.h.
const IPV4_DEVCONF_ARP_NOTIFY: u16 = 22;

/// IFLA_AF_SPEC / AF_INET / IFLA_INET_CONF: one setting by its number.
fn ipv4_setting(number: u16, value: u32) -> DefaultNla {
    const AF_INET: u16 = 2;
    const IFLA_INET_CONF: u16 = 1;
    let setting = crate::nft::attribute_bytes(number, &value.to_ne_bytes());
    DefaultNla::new(
        AF_INET,
        crate::nft::attribute_bytes(IFLA_INET_CONF, &setting),
    )
}

fn by_index(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link
}

fn set_flag(index: u32, flag: LinkFlags, on: bool, words: String, batch: &mut Batch) {
    let mut link = by_index(index);
    link.header.flags = if on { flag } else { LinkFlags::empty() };
    link.header.change_mask = flag;
    batch.push(kind::SET_LINK, &link, 0, words);
}

/// Brings a link up.
pub fn set_up(index: u32, batch: &mut Batch) {
    set_flag(
        index,
        LinkFlags::Up,
        true,
        format!("bring link {index} up"),
        batch,
    );
}

/// Takes a link down.
pub fn set_down(index: u32, batch: &mut Batch) {
    set_flag(
        index,
        LinkFlags::Up,
        false,
        format!("take link {index} down"),
        batch,
    );
}

/// Switches promiscuous mode on.
pub fn set_promiscuous(index: u32, batch: &mut Batch) {
    set_flag(
        index,
        LinkFlags::Promisc,
        true,
        format!("make link {index} promiscuous"),
        batch,
    );
}

/// Makes a link a port of a bridge, or of none.
pub fn set_controller(index: u32, controller: Option<u32>, batch: &mut Batch) {
    let mut link = by_index(index);
    link.attributes
        .push(LinkAttribute::Controller(controller.unwrap_or(0)));
    let words = match controller {
        Some(bridge) => format!("make link {index} a port of bridge {bridge}"),
        None => format!("release link {index} from its bridge"),
    };
    batch.push(kind::SET_LINK, &link, 0, words);
}

/// Sets a link's MAC. Setting the one it has makes the kernel announce its addresses, if it is told
/// to announce them (`arp_notify`, `ndisc_notify`).
pub fn set_mac(index: u32, mac: Mac, batch: &mut Batch) {
    let mut link = by_index(index);
    link.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    let words = format!("set the MAC of link {index} to {mac}");
    batch.push(kind::SET_LINK, &link, 0, words);
}

/// Puts a link, by name, into a group of links.
pub fn set_group(name: &str, group: u32, batch: &mut Batch) {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link.attributes.push(LinkAttribute::Group(group));
    batch.push(
        kind::SET_LINK,
        &link,
        0,
        format!("mark link {name} for deletion"),
    );
}

/// Deletes every link of a group: one RCU wait for all of them.
pub fn delete_group(group: u32, batch: &mut Batch) {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::Group(group));
    batch.push(kind::DELETE_LINK, &link, 0, "delete the marked links");
}

/// Deletes a link by name.
pub fn delete(name: &str, batch: &mut Batch) {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    batch.push(kind::DELETE_LINK, &link, 0, format!("delete link {name}"));
}

/// A link as the kernel describes it.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Alias, empty if none.
    pub alias: String,
    /// Ethernet address.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub is_up: bool,
    /// Promiscuous mode was asked for.
    pub is_promiscuous: bool,
    /// RFC 2863 state is up.
    pub is_operational: bool,
    /// Index of the bridge it is a port of.
    pub controller: Option<u32>,
    /// Group of links.
    pub group: u32,
    /// Driver: `veth`, `bridge`.
    pub kind: Option<String>,
    /// Id of the peer's namespace, seen from the link's own.
    pub peer_netns_id: Option<i32>,
    /// The bridge's state, if it is one.
    pub bridge: Option<BridgeState>,
    /// The port's state, if it is a bridge's.
    pub port: Option<PortState>,
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            is_up: message.header.flags.contains(LinkFlags::Up),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::IfAlias(alias) => link.alias = alias,
                LinkAttribute::Address(bytes) => link.mac = Mac::from_slice(&bytes),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::OperState(state) => link.is_operational = state == State::Up,
                LinkAttribute::Promiscuity(count) => link.is_promiscuous = count > 0,
                LinkAttribute::Controller(index) => link.controller = Some(index),
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::LinkNetNsId(id) => link.peer_netns_id = Some(id),
                LinkAttribute::LinkInfo(infos) => link.read_info(infos),
                _ => {}
            }
        }
        link
    }
}

impl Link {
    fn read_info(&mut self, infos: Vec<LinkInfo>) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind.to_string()),
                LinkInfo::Data(InfoData::Bridge(list)) => {
                    self.bridge = Some(BridgeState::read(&list));
                }
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
