//! Notifications of the kernel, as events.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::rule::RuleMessage;
use weft_cni::{IpFamily, Mac};

use crate::address::{self, Assigned};
use crate::link::Link;
use crate::netlink::{RawMessage, kind, parsed};
use crate::nexthop::{self, Nexthop};
use crate::nft::attributes;
use crate::policy_routing::{self, OwnRule};
use crate::route::{self, RouteSpec};

/// Whether something has come or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is there now, or has changed.
    Present,
    /// Deleted, or moved to another namespace.
    Gone,
}

/// Something that has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// An interface.
    Link {
        /// Come or gone.
        change: Change,
        /// As it is, or was.
        link: Box<Link>,
    },
    /// An address of an interface.
    Address {
        /// Come or gone.
        change: Change,
        /// The address.
        assigned: Assigned,
    },
    /// A unicast route.
    Route {
        /// Come or gone.
        change: Change,
        /// As a dump would have it.
        route: Box<RouteSpec>,
    },
    /// An ARP or neighbour discovery entry.
    Neighbour {
        /// Come or gone.
        change: Change,
        /// The interface, by index.
        link: u32,
        /// The neighbour's IP address.
        address: IpAddr,
        /// Its MAC, as far as it is known.
        mac: Option<Mac>,
    },
    /// An entry of the forwarding database of a bridge or a VXLAN device.
    Forwarding {
        /// Come or gone.
        change: Change,
        /// The port, by index.
        link: u32,
        /// The key of the forwarding entry.
        mac: Mac,
        /// The VLAN, on a bridge that tells them apart.
        vlan: Option<u16>,
        /// The other tunnel endpoint, of a VXLAN device.
        remote: Option<IpAddr>,
        /// Somebody has put it there; it was not learnt.
        is_static: bool,
    },
    /// A routing rule that has Weft's protocol number.
    Rule {
        /// Come or gone.
        change: Change,
        /// As a dump would have it.
        rule: Box<OwnRule>,
    },
    /// A nexthop object that has Weft's protocol number.
    Nexthop {
        /// Come or gone.
        change: Change,
        /// As a dump would have it.
        nexthop: Nexthop,
    },
    /// The ruleset has changed: one commit.
    Ruleset {
        /// The number of the ruleset that is in force now.
        generation: u32,
        /// The process that has changed it, and its name.
        by: Option<(u32, String)>,
    },
    /// Messages were dropped: what is known has to be looked up again.
    Lost,
}

/// NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN.
const NEW_GENERATION: u16 = 10 << 8 | 15;

impl Event {
    pub(super) fn of_routing(message: &RawMessage) -> Option<Self> {
        const WORDS: &str = "an event";
        let payload = &message.payload;
        let change = match message.kind {
            kind::NEW_LINK
            | kind::NEW_ADDRESS
            | kind::NEW_ROUTE
            | kind::NEW_NEIGHBOUR
            | kind::NEW_RULE
            | kind::NEW_NEXTHOP => Change::Present,
            _ => Change::Gone,
        };
        match message.kind {
            kind::NEW_LINK | kind::DELETE_LINK => {
                let message: LinkMessage = parsed(payload, WORDS).ok()?;
                // A bridge tells of its ports in messages of its own family: the port itself stays.
                let is_own = message.header.interface_family == AddressFamily::Unspec;
                is_own.then(|| Self::Link {
                    change,
                    link: Box::new(message.into()),
                })
            }
            kind::NEW_ADDRESS | kind::DELETE_ADDRESS => Some(Self::Address {
                change,
                assigned: address::read(&parsed(payload, WORDS).ok()?)?,
            }),
            kind::NEW_ROUTE | kind::DELETE_ROUTE => Some(Self::Route {
                change,
                route: Box::new(route::read_unicast(&parsed(payload, WORDS).ok()?)?),
            }),
            kind::NEW_NEIGHBOUR | kind::DELETE_NEIGHBOUR => {
                neighbour(change, &parsed(payload, WORDS).ok()?)
            }
            kind::NEW_RULE | kind::DELETE_RULE => {
                let message: RuleMessage = parsed(payload, WORDS).ok()?;
                let family = match message.header.family {
                    AddressFamily::Inet => IpFamily::V4,
                    _ => IpFamily::V6,
                };
                let rule = Box::new(policy_routing::read_rule(family, &message)?);
                Some(Self::Rule { change, rule })
            }
            kind::NEW_NEXTHOP | kind::DELETE_NEXTHOP => Some(Self::Nexthop {
                change,
                nexthop: nexthop::read(payload)?,
            }),
            _ => None,
        }
    }

    pub(super) fn of_ruleset(message: &RawMessage) -> Option<Self> {
        const GENERATION: u16 = 1;
        const PROCESS: u16 = 2;
        const NAME: u16 = 3;
        if message.kind != NEW_GENERATION {
            return None;
        }
        let body = message.payload.get(4..)?;
        let field = |wanted| attributes(body).find(|(kind, _)| *kind == wanted);
        let number = |wanted| {
            let (_, value) = field(wanted)?;
            value.first_chunk::<4>().copied().map(u32::from_be_bytes)
        };
        let name = field(NAME).map(|(_, text)| {
            let text = text.strip_suffix(&[0]).unwrap_or(text);
            String::from_utf8_lossy(text).into_owned()
        });
        Some(Self::Ruleset {
            generation: number(GENERATION)?,
            by: number(PROCESS).zip(name),
        })
    }
}

fn neighbour(change: Change, message: &NeighbourMessage) -> Option<Event> {
    let (mut destination, mut mac, mut vlan) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                destination = Some(IpAddr::from(*ip));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                destination = Some(IpAddr::from(*ip));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::from_slice(bytes),
            NeighbourAttribute::Vlan(id) => vlan = Some(*id),
            _ => {}
        }
    }
    let link = message.header.ifindex;
    if message.header.family == AddressFamily::Bridge {
        return Some(Event::Forwarding {
            change,
            link,
            mac: mac?,
            vlan,
            remote: destination,
            is_static: matches!(
                message.header.state,
                NeighbourState::Permanent | NeighbourState::Noarp
            ),
        });
    }
    Some(Event::Neighbour {
        change,
        link,
        address: destination?,
        mac,
    })
}
