//! Interfaces that sit on another one, their parent: macvlan, ipvlan, 802.1Q VLANs.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::str::FromStr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanFlags, IpVlanMode, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, kind};
use weft_cni::Mac;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($word => Ok(Self::$variant),)* _ => Err(()) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// How macvlan interfaces of one parent see each other (linux/if_link.h, `MACVLAN_MODE_*`).
    MacvlanMode {
        /// They reach each other, inside the parent.
        Bridge = "bridge",
        /// They never do.
        Private = "private",
        /// They do if the switch outside sends their frames back.
        Vepa = "vepa",
        /// There is only one, and it has the parent's address.
        Passthru = "passthru",
    }
}

words! {
    /// Up to which layer ipvlan interfaces are switched (linux/if_link.h, `IPVLAN_MODE_*`). One
    /// for all of a parent.
    IpvlanMode {
        /// Broadcast and multicast work; the parent is a switch.
        L2 = "l2",
        /// The parent's namespace routes; no ARP, no broadcast.
        L3 = "l3",
        /// The same, and its netfilter hooks see the packets.
        L3s = "l3s",
    }
}

words! {
    /// How ipvlan interfaces of one parent see each other (`IPVLAN_F_*`).
    IpvlanFlag {
        /// They reach each other.
        Bridge = "bridge",
        /// They never do.
        Private = "private",
        /// They do if the switch outside sends their frames back.
        Vepa = "vepa",
    }
}

/// What an interface on a parent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildKind {
    /// With a MAC of its own.
    Macvlan {
        /// Whether children reach each other (`IFLA_MACVLAN_MODE`).
        mode: MacvlanMode,
        /// How many broadcast frames may wait to be copied; `None` for the kernel's 1000.
        broadcast_queue: Option<u32>,
    },
    /// With its parent's MAC, told apart by address.
    Ipvlan {
        /// Of all ipvlans of the parent (`IFLA_IPVLAN_MODE`).
        mode: IpvlanMode,
        /// Of all ipvlans of the parent (`IFLA_IPVLAN_FLAGS`).
        flag: IpvlanFlag,
    },
    /// The frames with one tag.
    Vlan {
        /// 1 to 4094.
        id: u16,
    },
}

impl ChildKind {
    /// The driver's name, which is also its module's but for `vlan` (8021q).
    pub const fn driver(&self) -> &'static str {
        match self {
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
        }
    }

    /// The module and the kernel option that provide the driver.
    pub const fn module(&self) -> (&'static str, &'static str) {
        match self {
            Self::Macvlan { .. } => ("macvlan", "CONFIG_MACVLAN"),
            Self::Ipvlan { .. } => ("ipvlan", "CONFIG_IPVLAN"),
            Self::Vlan { .. } => ("8021q", "CONFIG_VLAN_8021Q"),
        }
    }

    fn info(&self) -> Vec<LinkInfo> {
        let (kind, data) = match self {
            Self::Macvlan {
                mode,
                broadcast_queue,
            } => {
                let mode = match mode {
                    MacvlanMode::Bridge => MacVlanMode::Bridge,
                    MacvlanMode::Private => MacVlanMode::Private,
                    MacvlanMode::Vepa => MacVlanMode::Vepa,
                    MacvlanMode::Passthru => MacVlanMode::Passthrough,
                };
                let mut data = vec![InfoMacVlan::Mode(mode)];
                data.extend(broadcast_queue.map(InfoMacVlan::BcQueueLen));
                (InfoKind::MacVlan, InfoData::MacVlan(data))
            }
            Self::Ipvlan { mode, flag } => {
                let mode = match mode {
                    IpvlanMode::L2 => IpVlanMode::L2,
                    IpvlanMode::L3 => IpVlanMode::L3,
                    IpvlanMode::L3s => IpVlanMode::L3S,
                };
                let flags = match flag {
                    IpvlanFlag::Bridge => IpVlanFlags::empty(),
                    IpvlanFlag::Private => IpVlanFlags::Private,
                    IpvlanFlag::Vepa => IpVlanFlags::Vepa,
                };
                let data = vec![InfoIpVlan::Mode(mode), InfoIpVlan::Flags(flags)];
                (InfoKind::IpVlan, InfoData::IpVlan(data))
            }
            Self::Vlan { id } => (InfoKind::Vlan, InfoData::Vlan(vec![InfoVlan::Id(*id)])),
        };
        vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]
    }

    /// What the kernel says of a link; `None` if it is no link of these kinds.
    pub(crate) fn read(data: &InfoData) -> Option<Self> {
        match data {
            InfoData::MacVlan(list) => {
                let mode = list.iter().find_map(|info| match info {
                    InfoMacVlan::Mode(MacVlanMode::Bridge) => Some(MacvlanMode::Bridge),
                    InfoMacVlan::Mode(MacVlanMode::Private) => Some(MacvlanMode::Private),
                    InfoMacVlan::Mode(MacVlanMode::Vepa) => Some(MacvlanMode::Vepa),
                    InfoMacVlan::Mode(MacVlanMode::Passthrough) => Some(MacvlanMode::Passthru),
                    _ => None,
                })?;
                Some(Self::Macvlan {
                    mode,
                    broadcast_queue: list.iter().find_map(|info| match info {
                        InfoMacVlan::BcQueueLen(length) => Some(*length),
                        _ => None,
                    }),
                })
            }
            InfoData::IpVlan(list) => {
                let mode = list.iter().find_map(|info| match info {
                    InfoIpVlan::Mode(IpVlanMode::L2) => Some(IpvlanMode::L2),
                    InfoIpVlan::Mode(IpVlanMode::L3) => Some(IpvlanMode::L3),
                    InfoIpVlan::Mode(IpVlanMode::L3S) => Some(IpvlanMode::L3s),
                    _ => None,
                })?;
                let has = |flag| {
                    list.iter()
                        .any(|info| matches!(info, InfoIpVlan::Flags(all) if all.contains(flag)))
                };
                let flag = match (has(IpVlanFlags::Private), has(IpVlanFlags::Vepa)) {
                    (true, _) => IpvlanFlag::Private,
                    (_, true) => IpvlanFlag::Vepa,
                    _ => IpvlanFlag::Bridge,
                };
                Some(Self::Ipvlan { mode, flag })
            }
            InfoData::Vlan(list) => list.iter().find_map(|info| match info {
                InfoVlan::Id(id) => Some(Self::Vlan { id: *id }),
                _ => None,
            }),
            _ => None,
        }
    }
}

/// An interface to be made on a parent.
#[derive(Debug)]
pub struct ChildLink<'a, N: AsFd> {
    /// In the namespace where it is made.
    pub name: &'a str,
    /// What it is.
    pub kind: ChildKind,
    /// The parent's index, in the namespace of the socket the request is sent by.
    pub parent: u32,
    /// Its MAC; `None` for what the kernel chooses, which with all but macvlan is the parent's.
    pub mac: Option<Mac>,
    /// In bytes, the parent's at most.
    pub mtu: u32,
    /// The namespace it is made in; `None` for the socket's.
    pub netns: Option<&'a N>,
    /// It comes up.
    pub up: bool,
}

impl<N: AsFd> ChildLink<'_, N> {
    /// One request that makes it in place: a link that is moved between namespaces costs an RCU
    /// grace period.
    pub fn create(&self, batch: &mut Batch) {
        let mut link = LinkMessage::default();
        if self.up {
            link.header.flags = LinkFlags::Up;
            link.header.change_mask = LinkFlags::Up;
        }
        link.attributes = vec![
            LinkAttribute::IfName(self.name.to_owned()),
            LinkAttribute::Link(self.parent),
            LinkAttribute::Mtu(self.mtu),
            LinkAttribute::LinkInfo(self.kind.info()),
        ];
        let mac = self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec()));
        link.attributes.extend(mac);
        if let Some(netns) = self.netns {
            link.attributes
                .push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
        }
        let (driver, name) = (self.kind.driver(), self.name);
        let words = format!("create {driver} {name} on link {}", self.parent);
        batch.push(kind::NEW_LINK, &link, NLM_F_CREATE | NLM_F_EXCL, words);
    }
}

/// Whether the kernel has the driver, or can load it. Nothing is made: the request lacks a parent,
/// and a driver that is there refuses it for that.
///
/// # Errors
/// The socket's.
pub fn has_driver(socket: &mut RouteSocket, child: ChildKind) -> Result<bool, KernelError> {
    let mut link = LinkMessage::default();
    link.attributes = vec![
        LinkAttribute::IfName("weftprobe".to_owned()),
        LinkAttribute::LinkInfo(child.info()),
    ];
    let mut batch = Batch::new();
    let words = format!("ask for the driver {}", child.driver());
    batch.push(kind::NEW_LINK, &link, NLM_F_CREATE | NLM_F_EXCL, words);
    match socket.commit(batch) {
        Err(error) if error.is_unsupported() => Ok(false),
        Err(error) if error.errno().is_none() => Err(error),
        _ => Ok(true),
    }
}
