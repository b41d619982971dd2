//! Routes in tables of their own, and the rules that lead there: marked with a protocol number, by which they are told
//! from those of others (ip-route(8), ip-rule(8): `proto`).

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use weft_cni::IpFamily;

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, bytes_of, kind, parsed};
use crate::route::{address_family, destination_of, ip};

/// Weft's number. 99, which n-netman has, is openr's (linux/rtnetlink.h).
pub const PROTOCOL: u8 = 142;

/// A route that has Weft's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnRoute {
    /// The routing table.
    pub table: u32,
    /// The destination.
    pub prefix: IpNetwork,
    /// Lower is better.
    pub metric: u32,
    /// The interface, by index; 0 for a route by a nexthop object.
    pub link: u32,
    /// What it leads by.
    pub via: Via,
}

/// What a route leads by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// An address on the interface.
    Gateway(IpAddr),
    /// A nexthop object, by its number.
    Nexthop(u32),
    /// Nowhere: whatever takes it is answered that the destination cannot be reached.
    Unreachable,
}

impl OwnRoute {
    fn message(&self) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.address_family = address_family(IpFamily::of(self.prefix.ip()));
        route.header.destination_prefix_length = self.prefix.prefix();
        route.header.protocol = RouteProtocol::Other(PROTOCOL);
        route.header.kind = RouteType::Unicast;
        route.header.scope = RouteScope::Universe;
        route.header.table = RouteHeader::RT_TABLE_UNSPEC;
        let network = self.prefix.network();
        route.attributes = vec![
            RouteAttribute::Destination(network.into()),
            RouteAttribute::Priority(self.metric),
            RouteAttribute::Table(self.table),
        ];
        match self.via {
            Via::Gateway(gateway) => {
                route.header.flags |= RouteFlags::Onlink;
                route.attributes.push(RouteAttribute::Oif(self.link));
                route
                    .attributes
                    .push(RouteAttribute::Gateway(gateway.into()));
            }
            Via::Nexthop(id) => route.attributes.push(RouteAttribute::NhId(id)),
            Via::Unreachable => route.header.kind = RouteType::Unreachable,
        }
        route
    }

    /// Adds the route; one with the same metric that is there is an error.
    pub fn add(&self, batch: &mut Batch) {
        let words = format!("add route {} to table {}", self.prefix, self.table);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        batch.push(kind::NEW_ROUTE, &self.message(), flags, words);
    }

    /// Adds the route; one with the same metric gives way.
    pub fn put(&self, batch: &mut Batch) {
        let words = format!("put route {} into table {}", self.prefix, self.table);
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        batch.push(kind::NEW_ROUTE, &self.message(), flags, words);
    }

    /// Removes the route with Weft's number to a destination, with a metric, whatever it leads by.
    pub fn delete(table: u32, prefix: IpNetwork, metric: u32, batch: &mut Batch) {
        let mut message = Self {
            table,
            prefix,
            metric,
            link: 0,
            via: Via::Unreachable,
        }
        .message();
        message.header.kind = RouteType::Unspec;
        let words = format!("remove route {prefix} from table {table}");
        batch.push(kind::DELETE_ROUTE, &message, 0, words);
    }
}

/// All routes with Weft's number.
///
/// # Errors
/// The socket's.
pub fn routes(socket: &mut RouteSocket, family: IpFamily) -> Result<Vec<OwnRoute>, KernelError> {
    let mut query = RouteMessage::default();
    query.header.address_family = address_family(family);
    query.header.protocol = RouteProtocol::Other(PROTOCOL);
    let words = "list the overlays' routes";
    let mut routes = Vec::new();
    for answer in socket.dump(kind::GET_ROUTE, &bytes_of(&query), words)? {
        let message: RouteMessage = parsed(&answer, words)?;
        if message.header.protocol == RouteProtocol::Other(PROTOCOL) {
            routes.extend(read_route(&message));
        }
    }
    Ok(routes)
}

fn read_route(message: &RouteMessage) -> Option<OwnRoute> {
    let mut table = u32::from(message.header.table);
    let (mut metric, mut link, mut gateway, mut nexthop) = (0, 0, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Oif(index) => link = *index,
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::NhId(id) => nexthop = Some(*id),
            _ => {}
        }
    }
    let via = match message.header.kind {
        RouteType::Unreachable => {
            // IPv6 names the loopback interface.
            link = 0;
            Via::Unreachable
        }
        _ => nexthop
            .map(Via::Nexthop)
            .or_else(|| gateway.map(Via::Gateway))?,
    };
    Some(OwnRoute {
        table,
        prefix: destination_of(message)?,
        metric,
        link,
        via,
    })
}

/// What else of a packet a rule looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Narrowed {
    /// Routes of the table that have no longer prefix than this do not count.
    pub longer_than: Option<u32>,
    /// IPPROTO_*.
    pub protocol: Option<u8>,
    /// Source ports, the first and the last.
    pub source_ports: Option<(u16, u16)>,
    /// Destination ports, the first and the last.
    pub destination_ports: Option<(u16, u16)>,
}

impl Narrowed {
    fn attributes(self) -> impl Iterator<Item = RuleAttribute> {
        let range = |(start, end)| RulePortRange { start, end };
        [
            self.longer_than.map(RuleAttribute::SuppressPrefixLen),
            (self.protocol).map(|number| RuleAttribute::IpProtocol(i32::from(number).into())),
            (self.source_ports).map(|ports| RuleAttribute::SourcePortRange(range(ports))),
            (self.destination_ports).map(|ports| RuleAttribute::DestinationPortRange(range(ports))),
        ]
        .into_iter()
        .flatten()
    }

    fn read(&mut self, attribute: &RuleAttribute) {
        let range = |ports: &RulePortRange| (ports.start, ports.end);
        match attribute {
            // -1 stands for none.
            RuleAttribute::SuppressPrefixLen(length) if *length <= 128 => {
                self.longer_than = Some(*length);
            }
            RuleAttribute::IpProtocol(protocol) => {
                self.protocol = u8::try_from(i32::from(*protocol)).ok();
            }
            RuleAttribute::SourcePortRange(ports) => self.source_ports = Some(range(ports)),
            RuleAttribute::DestinationPortRange(ports) => {
                self.destination_ports = Some(range(ports));
            }
            _ => {}
        }
    }
}

/// A rule that has Weft's number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnRule {
    /// Lower comes first; the main table's is 32766.
    pub priority: u32,
    /// IPv4 or IPv6.
    pub family: IpFamily,
    /// Packets that come in by this interface.
    pub iif: Option<String>,
    /// Packets of sockets that are bound to this interface.
    pub oif: Option<String>,
    /// Packets to this destination.
    pub to: Option<IpNetwork>,
    /// What else has to be so.
    pub narrowed: Narrowed,
    /// The routing table that they are looked up in.
    pub table: u32,
}

impl OwnRule {
    fn message(&self) -> RuleMessage {
        let mut rule = RuleMessage::default();
        rule.header.family = address_family(self.family);
        rule.header.action = RuleAction::ToTable;
        rule.attributes = vec![
            RuleAttribute::Priority(self.priority),
            RuleAttribute::Table(self.table),
            RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
        ];
        let iif = self.iif.clone().map(RuleAttribute::Iifname);
        let oif = self.oif.clone().map(RuleAttribute::Oifname);
        rule.attributes.extend(iif.into_iter().chain(oif));
        if let Some(to) = self.to {
            rule.header.dst_len = to.prefix();
            rule.attributes
                .push(RuleAttribute::Destination(to.network()));
        }
        rule.attributes.extend(self.narrowed.attributes());
        rule
    }

    /// Adds the rule.
    pub fn add(&self, batch: &mut Batch) {
        let words = format!("add a rule to table {}", self.table);
        batch.push(kind::NEW_RULE, &self.message(), NLM_F_CREATE, words);
    }

    /// Removes the rule.
    pub fn delete(&self, batch: &mut Batch) {
        let words = format!("remove a rule to table {}", self.table);
        batch.push(kind::DELETE_RULE, &self.message(), 0, words);
    }
}

/// All rules with Weft's number; one that is there twice is there twice.
///
/// # Errors
/// The socket's.
pub fn rules(socket: &mut RouteSocket, family: IpFamily) -> Result<Vec<OwnRule>, KernelError> {
    let mut query = RuleMessage::default();
    query.header.family = address_family(family);
    let words = "list the overlays' rules";
    let mut rules = Vec::new();
    for answer in socket.dump(kind::GET_RULE, &bytes_of(&query), words)? {
        rules.extend(read_rule(family, &parsed(&answer, words)?));
    }
    Ok(rules)
}

/// None of others'.
pub(crate) fn read_rule(family: IpFamily, message: &RuleMessage) -> Option<OwnRule> {
    let mut rule = OwnRule {
        priority: 0,
        family,
        iif: None,
        oif: None,
        to: None,
        narrowed: Narrowed::default(),
        table: u32::from(message.header.table),
    };
    let mut is_own = false;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Protocol(protocol) => is_own = u8::from(*protocol) == PROTOCOL,
            RuleAttribute::Priority(number) => rule.priority = *number,
            RuleAttribute::Table(number) => rule.table = *number,
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
            RuleAttribute::Destination(ip) => {
                rule.to = IpNetwork::new(*ip, message.header.dst_len).ok();
            }
            other => rule.narrowed.read(other),
        }
    }
    is_own.then_some(rule)
}
