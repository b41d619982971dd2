//! Changing and deleting links.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoPortData, InfoPortKind, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, LinkMode, LinkXdp,
};

use super::{Link, by_index};
use crate::bridge::PortOptions;
use crate::netlink::{Batch, kind};
use crate::nft::attribute_bytes;
use weft_cni::Mac;

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
    /// It answers no ARP request (`arp_ignore` 8).
    pub answers_no_arp: bool,
    /// It speaks ARP for its own addresses only, where another interface has others (`arp_ignore` 1,
    /// `arp_announce` 2).
    pub keeps_to_own_arp: bool,
    /// IPv4 packets that come by it are forwarded (`forwarding`).
    pub forwards_ipv4: bool,
    /// The host's own packets to 127.0.0.0/8 may leave by it, or may not (`route_localnet`).
    pub routes_localnet: Option<bool>,
    /// It takes no part in ARP (`IFF_NOARP`): what a bridge port hears as its own is none of the host's.
    pub without_arp: bool,
    /// Bridge port options.
    pub port: Option<&'a PortOptions>,
    /// Set while the link is down.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Length of the transmit queue in packets.
    pub tx_queue_len: Option<u32>,
    /// All frames are taken in.
    pub promiscuous: Option<bool>,
    /// All multicast frames are taken in.
    pub all_multicast: Option<bool>,
    /// Bring it up.
    pub up: bool,
}

impl Change<'_> {
    /// Asks for the change of the link called `name`; for none, if there is nothing to change.
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
        let ipv4 = [
            (self.forwards_ipv4, IPV4_DEVCONF_FORWARDING, 1),
            (self.announces_ipv4, IPV4_DEVCONF_ARP_NOTIFY, 1),
            (self.answers_no_arp, IPV4_DEVCONF_ARP_IGNORE, 8),
            (self.keeps_to_own_arp, IPV4_DEVCONF_ARP_IGNORE, 1),
            (self.keeps_to_own_arp, IPV4_DEVCONF_ARP_ANNOUNCE, 2),
            (
                self.routes_localnet.is_some(),
                IPV4_DEVCONF_ROUTE_LOCALNET,
                u32::from(self.routes_localnet == Some(true)),
            ),
        ];
        let wanted = ipv4.into_iter().filter(|(is_wanted, ..)| *is_wanted);
        let ipv4: Vec<u8> = wanted
            .flat_map(|(_, number, value)| attribute_bytes(number, &value.to_ne_bytes()))
            .collect();
        if !ipv4.is_empty() {
            families.push(AfSpecUnspec::Other(ipv4_settings(&ipv4)));
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
        let mac = self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec()));
        link.attributes.extend(mac);
        link.attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        link.attributes
            .extend(self.tx_queue_len.map(LinkAttribute::TxQueueLen));
        let flags = [
            (LinkFlags::Up, self.up.then_some(true)),
            (LinkFlags::Noarp, self.without_arp.then_some(true)),
            (LinkFlags::Promisc, self.promiscuous),
            (LinkFlags::Allmulti, self.all_multicast),
        ];
        for (flag, wanted) in flags {
            if let Some(on) = wanted {
                link.header.change_mask |= flag;
                link.header.flags.set(flag, on);
            }
        }
        let is_change = link.attributes.len() > 1 || !link.header.change_mask.is_empty();
        if is_change {
            batch.push(kind::NEW_LINK, &link, 0, format!("configure {name}"));
        }
    }
}

// linux/ip.h.
const IPV4_DEVCONF_FORWARDING: u16 = 1;
const IPV4_DEVCONF_ARP_ANNOUNCE: u16 = 18;
const IPV4_DEVCONF_ARP_IGNORE: u16 = 19;
const IPV4_DEVCONF_ARP_NOTIFY: u16 = 22;
const IPV4_DEVCONF_ROUTE_LOCALNET: u16 = 26;

/// IFLA_AF_SPEC / AF_INET / IFLA_INET_CONF: settings by their numbers.
fn ipv4_settings(settings: &[u8]) -> DefaultNla {
    const AF_INET: u16 = 2;
    const IFLA_INET_CONF: u16 = 1;
    DefaultNla::new(AF_INET, attribute_bytes(IFLA_INET_CONF, settings))
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

/// Puts a link into a group of links.
pub fn set_group(index: u32, group: u32, batch: &mut Batch) {
    let mut link = by_index(index);
    link.attributes.push(LinkAttribute::Group(group));
    let words = format!("put link {index} into group {group}");
    batch.push(kind::SET_LINK, &link, 0, words);
}

/// Sets a link's alias; an empty one takes it away.
pub fn set_alias(index: u32, alias: &str, batch: &mut Batch) {
    let mut link = by_index(index);
    link.attributes
        .push(LinkAttribute::IfAlias(alias.to_owned()));
    batch.push(
        kind::SET_LINK,
        &link,
        0,
        format!("set the alias of link {index}"),
    );
}

/// Flags that a link's user may change, without that of being up.
pub(super) const CHANGEABLE: LinkFlags = LinkFlags::Debug
    .union(LinkFlags::Notrailers)
    .union(LinkFlags::Noarp)
    .union(LinkFlags::Promisc)
    .union(LinkFlags::Allmulti)
    .union(LinkFlags::Multicast)
    .union(LinkFlags::Portsel)
    .union(LinkFlags::Automedia)
    .union(LinkFlags::Dynamic);

/// Sets these flags, and takes away what else keeps a link from being operational though it is up.
pub fn set_flags(there: &Link, flags: u32, batch: &mut Batch) {
    let words = || format!("set the flags of link {}", there.index);
    let mut link = by_index(there.index);
    link.header.flags = LinkFlags::from_bits_truncate(flags) & CHANGEABLE;
    link.header.change_mask = CHANGEABLE;
    if there.is_dormant {
        link.attributes.push(LinkAttribute::Mode(LinkMode::Default));
    }
    batch.push(kind::SET_LINK, &link, 0, words());
    if there.is_proto_down {
        let mut link = by_index(there.index);
        link.attributes.push(LinkAttribute::ProtoDown(0));
        batch.push(kind::SET_LINK, &link, 0, words());
    }
}

/// Takes away the programs that decide over what a link receives.
pub fn remove_xdp(there: &Link, batch: &mut Batch) {
    for mode in &there.xdp_modes {
        let mut link = by_index(there.index);
        link.attributes.push(LinkAttribute::Xdp(vec![
            LinkXdp::Fd(-1),
            LinkXdp::Flags(*mode),
        ]));
        let words = format!("remove the XDP program of link {}", there.index);
        batch.push(kind::SET_LINK, &link, 0, words);
    }
}

/// Deletes every link of a group: one RCU wait for all of them.
pub fn delete_group(group: u32, batch: &mut Batch) {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::Group(group));
    batch.push(kind::DELETE_LINK, &link, 0, "delete a group of links");
}

/// Deletes a link by index.
pub fn delete_index(index: u32, batch: &mut Batch) {
    let mut link = LinkMessage::default();
    link.header.index = index;
    batch.push(kind::DELETE_LINK, &link, 0, format!("delete link {index}"));
}

/// Deletes a link by name.
pub fn delete(name: &str, batch: &mut Batch) {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    batch.push(kind::DELETE_LINK, &link, 0, format!("delete link {name}"));
}
