//! Network interfaces: messages that make, change and delete them, and what the kernel tells of
//! them.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoPortData, InfoPortKind,
    InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, State,
};

use crate::bridge::{BridgeState, PortOptions, PortState};
use crate::error::KernelError;
use crate::mac::Mac;
use crate::netlink::{Batch, RouteSocket};

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
            peer.attributes.push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
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
        link.attributes.extend(self.controller.map(LinkAttribute::Controller));
        let words = format!("create veth {} with peer {}", self.name, self.peer_name);
        batch.push(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL, words);
    }
}

/// Changes to a link that exists, found by name: what can be set only after it was made.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// Free text, shown by `ip link` (256 bytes at most).
    pub alias: Option<&'a str>,
    /// No IPv6 link-local address of its own: a bridge port needs none.
    pub without_ipv6_address: bool,
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
        link.attributes.extend(self.alias.map(|text| LinkAttribute::IfAlias(text.to_owned())));
        if self.without_ipv6_address {
            let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
            let spec = AfSpecUnspec::Inet6(vec![mode]);
            link.attributes.push(LinkAttribute::AfSpecUnspec(vec![spec]));
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
        batch.push(RouteNetlinkMessage::NewLink(link), 0, format!("configure {name}"));
    }
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
    batch.push(RouteNetlinkMessage::SetLink(link), 0, words);
}

/// Brings a link up.
pub fn set_up(index: u32, batch: &mut Batch) {
    set_flag(index, LinkFlags::Up, true, format!("bring link {index} up"), batch);
}

/// Takes a link down.
pub fn set_down(index: u32, batch: &mut Batch) {
    set_flag(index, LinkFlags::Up, false, format!("take link {index} down"), batch);
}

/// Switches promiscuous mode on.
pub fn set_promiscuous(index: u32, batch: &mut Batch) {
    set_flag(index, LinkFlags::Promisc, true, format!("make link {index} promiscuous"), batch);
}

/// Makes a link a port of a bridge, or of none.
pub fn set_controller(index: u32, controller: Option<u32>, batch: &mut Batch) {
    let mut link = by_index(index);
    link.attributes.push(LinkAttribute::Controller(controller.unwrap_or(0)));
    let words = match controller {
        Some(bridge) => format!("make link {index} a port of bridge {bridge}"),
        None => format!("release link {index} from its bridge"),
    };
    batch.push(RouteNetlinkMessage::SetLink(link), 0, words);
}

/// Puts a link, by name, into a group of links.
pub fn set_group(name: &str, group: u32, batch: &mut Batch) {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link.attributes.push(LinkAttribute::Group(group));
    batch.push(RouteNetlinkMessage::SetLink(link), 0, format!("mark link {name} for deletion"));
}

/// Deletes every link of a group: one RCU wait for all of them.
pub fn delete_group(group: u32, batch: &mut Batch) {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::Group(group));
    batch.push(RouteNetlinkMessage::DelLink(link), 0, "delete the marked links");
}

/// Deletes a link by name.
pub fn delete(name: &str, batch: &mut Batch) {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    batch.push(RouteNetlinkMessage::DelLink(link), 0, format!("delete link {name}"));
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

fn query(attribute: Option<LinkAttribute>, index: u32) -> RouteNetlinkMessage {
    let mut link = by_index(index);
    link.attributes.extend(attribute);
    link.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(link)
}

fn expect_link(message: RouteNetlinkMessage, words: &str) -> Result<Link, KernelError> {
    match message {
        RouteNetlinkMessage::NewLink(link) => Ok(link.into()),
        other => Err(KernelError::Answer {
            request: words.to_owned(),
            what: format!("{other:?} is not a link"),
        }),
    }
}

/// Finds a link by name.
///
/// # Errors
/// The socket's; an absent link is `Ok(None)`.
pub fn find(socket: &mut RouteSocket, name: &str) -> Result<Option<Link>, KernelError> {
    let words = format!("find link {name}");
    present(socket.get(query(Some(LinkAttribute::IfName(name.to_owned())), 0), &words), &words)
}

/// Finds a link by index.
///
/// # Errors
/// The socket's; an absent link is `Ok(None)`.
pub fn find_index(socket: &mut RouteSocket, index: u32) -> Result<Option<Link>, KernelError> {
    let words = format!("find link {index}");
    present(socket.get(query(None, index), &words), &words)
}

fn present(
    answer: Result<RouteNetlinkMessage, KernelError>,
    words: &str,
) -> Result<Option<Link>, KernelError> {
    match answer {
        Ok(message) => expect_link(message, words).map(Some),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every link of the namespace.
///
/// # Errors
/// The socket's.
pub fn list(socket: &mut RouteSocket) -> Result<Vec<Link>, KernelError> {
    let words = "list links";
    let answers = socket.dump(&query(None, 0), words)?;
    answers.into_iter().map(|message| expect_link(message, words)).collect()
}

/// The links that are ports of a bridge, filtered by the kernel.
///
/// # Errors
/// The socket's.
pub fn ports_of(socket: &mut RouteSocket, bridge: u32) -> Result<Vec<Link>, KernelError> {
    let words = "list the ports of a bridge";
    let answers = socket.dump(&query(Some(LinkAttribute::Controller(bridge)), 0), words)?;
    answers.into_iter().map(|message| expect_link(message, words)).collect()
}
