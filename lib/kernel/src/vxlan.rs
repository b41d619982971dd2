//! VXLAN devices (RFC 7348) and the entries of their forwarding databases that name other tunnel endpoints.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use weft_cni::Mac;

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, bytes_of, kind, parsed};

/// A VXLAN device that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewVxlan<'a> {
    /// 15 bytes at most.
    pub name: &'a str,
    /// Its address.
    pub mac: Mac,
    /// In bytes; the underlay's less the headers at most.
    pub mtu: u32,
    /// The group of links that it is in.
    pub group: u32,
    /// What it is.
    pub vxlan: Vxlan,
}

/// What a VXLAN device is made with, and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vxlan {
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// The interface that its packets leave by, by index.
    pub underlay: u32,
    /// The address of this tunnel endpoint.
    pub local: IpAddr,
    /// The UDP port of all tunnel endpoints.
    pub port: u16,
    /// The device notes from where MACs come.
    pub learning: bool,
}

impl NewVxlan<'_> {
    /// Makes the device, which is down.
    pub fn create(&self, batch: &mut Batch) {
        let Vxlan {
            vni,
            underlay,
            local,
            port,
            learning,
        } = self.vxlan;
        let options = vec![
            InfoVxlan::Id(vni),
            InfoVxlan::Link(underlay),
            match local {
                IpAddr::V4(v4) => InfoVxlan::Local(v4),
                IpAddr::V6(v6) => InfoVxlan::Local6(v6),
            },
            InfoVxlan::Port(port),
            InfoVxlan::Learning(learning),
        ];
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(self.name.to_owned()),
            LinkAttribute::Address(self.mac.0.to_vec()),
            LinkAttribute::Mtu(self.mtu),
            LinkAttribute::Group(self.group),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vxlan),
                LinkInfo::Data(InfoData::Vxlan(options)),
            ]),
        ];
        let words = format!("create VXLAN device {} with VNI {vni}", self.name);
        batch.push(kind::NEW_LINK, &link, NLM_F_CREATE | NLM_F_EXCL, words);
    }
}

impl Vxlan {
    /// What the kernel says of a device; none without a VNI or an endpoint of its own.
    pub(crate) fn read(list: &[InfoVxlan]) -> Option<Self> {
        let (mut vni, mut underlay, mut local, mut port, mut learning) = (None, 0, None, 0, false);
        for info in list {
            match info {
                InfoVxlan::Id(id) => vni = Some(*id),
                InfoVxlan::Link(index) => underlay = *index,
                InfoVxlan::Local(v4) => local = Some(IpAddr::V4(*v4)),
                InfoVxlan::Local6(v6) => local = Some(IpAddr::V6(*v6)),
                InfoVxlan::Port(number) => port = *number,
                InfoVxlan::Learning(on) => learning = *on,
                _ => {}
            }
        }
        Some(Self {
            vni: vni?,
            underlay,
            local: local?,
            port,
            learning,
        })
    }
}

/// Where a VXLAN device sends frames to a MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forward {
    /// The frames' destination; [`FLOOD`] for those that go to all.
    pub mac: Mac,
    /// The other tunnel endpoint.
    pub remote: IpAddr,
}

/// Frames without an entry of their own, and those to groups, go to every endpoint with this one.
pub const FLOOD: Mac = Mac([0; 6]);

fn message(link: u32, forward: &Forward) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(forward.mac.0.to_vec()),
        NeighbourAttribute::Destination(NeighbourAddress::from(forward.remote)),
    ];
    message
}

/// Adds an entry; one that is there stays.
pub fn add_forward(link: u32, forward: &Forward, batch: &mut Batch) {
    let Forward { mac, remote } = forward;
    let words = format!("forward {mac} of VXLAN device {link} to {remote}");
    let flags = NLM_F_CREATE | NLM_F_APPEND;
    batch.push(kind::NEW_NEIGHBOUR, &message(link, forward), flags, words);
}

/// Sets the only entry of a MAC.
pub fn set_forward(link: u32, forward: &Forward, batch: &mut Batch) {
    let Forward { mac, remote } = forward;
    let words = format!("forward {mac} of VXLAN device {link} to {remote} alone");
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    batch.push(kind::NEW_NEIGHBOUR, &message(link, forward), flags, words);
}

/// Removes an entry.
pub fn remove_forward(link: u32, forward: &Forward, batch: &mut Batch) {
    let Forward { mac, remote } = forward;
    let words = format!("no more forward {mac} of VXLAN device {link} to {remote}");
    batch.push(kind::DELETE_NEIGHBOUR, &message(link, forward), 0, words);
}

/// Removes all entries of a MAC.
pub fn remove_forwards(link: u32, mac: Mac, batch: &mut Batch) {
    let remote = IpAddr::from([0; 4]);
    let mut message = message(link, &Forward { mac, remote });
    let is_remote = |one: &NeighbourAttribute| matches!(one, NeighbourAttribute::Destination(_));
    message.attributes.retain(|one| !is_remote(one));
    let words = format!("no more forward {mac} of VXLAN device {link}");
    batch.push(kind::DELETE_NEIGHBOUR, &message, 0, words);
}

/// Has the bridge of a port send frames to a MAC by it, until that is removed.
pub fn put_behind(link: u32, mac: Mac, batch: &mut Batch) {
    let words = format!("send frames to {mac} by bridge port {link}");
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    batch.push(kind::NEW_NEIGHBOUR, &behind(link, mac), flags, words);
}

/// Removes that.
pub fn remove_behind(link: u32, mac: Mac, batch: &mut Batch) {
    let words = format!("no more send frames to {mac} by bridge port {link}");
    batch.push(kind::DELETE_NEIGHBOUR, &behind(link, mac), 0, words);
}

fn behind(link: u32, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link;
    // Static: it stays, and the bridge does not forget it with time.
    message.header.state = NeighbourState::Noarp;
    message.header.flags = NeighbourFlags::Controller;
    message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())];
    message
}

/// The MACs for which there is such an entry of a bridge for a port.
///
/// # Errors
/// The socket's.
pub fn all_behind(socket: &mut RouteSocket, link: u32) -> Result<Vec<Mac>, KernelError> {
    let mut query = NeighbourMessage::default();
    query.header.family = AddressFamily::Bridge;
    query.attributes.push(NeighbourAttribute::IfIndex(link));
    let words = format!("list what is behind link {link}");
    let mut found = Vec::new();
    for answer in socket.dump(kind::GET_NEIGHBOUR, &bytes_of(&query), &words)? {
        let message: NeighbourMessage = parsed(&answer, &words)?;
        let is_static = message.header.ifindex == link
            && message.header.state == NeighbourState::Noarp
            && !message.header.flags.contains(NeighbourFlags::Own);
        if is_static {
            found.extend(message.attributes.iter().find_map(|one| match one {
                NeighbourAttribute::LinkLayerAddress(bytes) => Mac::from_slice(bytes),
                _ => None,
            }));
        }
    }
    Ok(found)
}

/// The entries of a device that stay until they are removed; not those that it has learnt.
///
/// # Errors
/// The socket's.
pub fn forwards(socket: &mut RouteSocket, link: u32) -> Result<Vec<Forward>, KernelError> {
    let mut query = NeighbourMessage::default();
    query.header.family = AddressFamily::Bridge;
    query.attributes.push(NeighbourAttribute::IfIndex(link));
    let words = format!("list the forwarding entries of link {link}");
    let mut found = Vec::new();
    for answer in socket.dump(kind::GET_NEIGHBOUR, &bytes_of(&query), &words)? {
        let message: NeighbourMessage = parsed(&answer, &words)?;
        let is_own = message.header.ifindex == link
            && message.header.flags.contains(NeighbourFlags::Own)
            && message.header.state == NeighbourState::Permanent;
        if is_own {
            found.extend(read(&message));
        }
    }
    Ok(found)
}

fn read(message: &NeighbourMessage) -> Option<Forward> {
    let (mut mac, mut remote) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::from_slice(bytes),
            NeighbourAttribute::Destination(address) => remote = endpoint(address),
            _ => {}
        }
    }
    Some(Forward {
        mac: mac?,
        remote: remote?,
    })
}

/// The family of the message is the bridge's, so that the address comes as bytes.
fn endpoint(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        NeighbourAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        NeighbourAddress::Other(bytes) => match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes.as_slice()).ok()?)),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
            _ => None,
        },
        _ => None,
    }
}
