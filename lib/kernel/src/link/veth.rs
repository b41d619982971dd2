//! Pairs of interfaces.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};

use crate::netlink::{Batch, kind};
use weft_cni::Mac;

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
