//! Routes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
    RouteProtocol, RouteScope, RouteType,
};
use weft_cni::IpFamily;

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, bytes_of, kind, parsed};

/// A unicast route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// The destination.
    pub dst: IpNetwork,
    /// The gateway; `None` for what is on the link.
    pub gateway: Option<IpAddr>,
    /// The interface, by index.
    pub link: u32,
    /// Metric.
    pub priority: Option<u32>,
    /// Table; `None` for main.
    pub table: Option<u32>,
    /// Scope; `None` lets the gateway decide.
    pub scope: Option<u8>,
    /// Path MTU.
    pub mtu: Option<u32>,
    /// Maximal segment size to advertise.
    pub advmss: Option<u32>,
    /// The source address of the host's own packets by this route.
    pub source: Option<IpAddr>,
    /// The gateway is a neighbour, though no route says so.
    pub is_gateway_on_link: bool,
}

/// As rtnetlink names a family.
pub(crate) const fn address_family(family: IpFamily) -> AddressFamily {
    match family {
        IpFamily::V4 => AddressFamily::Inet,
        IpFamily::V6 => AddressFamily::Inet6,
    }
}

impl RouteSpec {
    /// Adds the route; one that is there already is an error.
    pub fn add(&self, batch: &mut Batch) {
        let words = match self.gateway {
            Some(gateway) => format!("add route {} via {gateway}", self.dst),
            None => format!("add route {} on link {}", self.dst, self.link),
        };
        batch.push(
            kind::NEW_ROUTE,
            &self.message(),
            NLM_F_CREATE | NLM_F_EXCL,
            words,
        );
    }

    /// Removes the route.
    pub fn delete(&self, batch: &mut Batch) {
        let words = format!("remove route {} from link {}", self.dst, self.link);
        batch.push(kind::DELETE_ROUTE, &self.message(), 0, words);
    }

    fn message(&self) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.address_family = address_family(IpFamily::of(self.dst.ip()));
        route.header.destination_prefix_length = self.dst.prefix();
        route.header.protocol = RouteProtocol::Static;
        route.header.kind = RouteType::Unicast;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        if self.is_gateway_on_link {
            route.header.flags |= RouteFlags::Onlink;
        }
        route.header.scope = match (self.scope, self.gateway) {
            (Some(scope), _) => scope.into(),
            (None, None) if self.dst.is_ipv4() => RouteScope::Link,
            (None, _) => RouteScope::Universe,
        };
        let destination = RouteAddress::from(self.dst.network());
        route
            .attributes
            .push(RouteAttribute::Destination(destination));
        route.attributes.push(RouteAttribute::Oif(self.link));
        route
            .attributes
            .extend(self.gateway.map(|ip| RouteAttribute::Gateway(ip.into())));
        route
            .attributes
            .extend(self.priority.map(RouteAttribute::Priority));
        route
            .attributes
            .extend(self.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
        if let Some(table) = self.table {
            route.header.table = RouteHeader::RT_TABLE_UNSPEC;
            route.attributes.push(RouteAttribute::Table(table));
        }
        let mut metrics: Vec<RouteMetric> = self.mtu.map(RouteMetric::Mtu).into_iter().collect();
        metrics.extend(self.advmss.map(RouteMetric::Advmss));
        if !metrics.is_empty() {
            route.attributes.push(RouteAttribute::Metrics(metrics));
        }
        route
    }
}

/// Whether packets to an address end on this host.
///
/// # Errors
/// The socket's.
pub fn is_of_host(socket: &mut RouteSocket, address: IpAddr) -> Result<bool, KernelError> {
    let answer = route_to(socket, address)?;
    Ok(answer.is_some_and(|message| message.header.kind == RouteType::Local))
}

/// The interface (by index) that a packet to `destination` would leave by; `None` if there is no
/// route.
///
/// # Errors
/// The socket's.
pub fn output_link(
    socket: &mut RouteSocket,
    destination: IpAddr,
) -> Result<Option<u32>, KernelError> {
    let answer = route_to(socket, destination)?;
    Ok(answer
        .and_then(|message| read(&message))
        .map(|found| found.link))
}

/// What the kernel would do with a packet; none if there is no route.
fn route_to(
    socket: &mut RouteSocket,
    destination: IpAddr,
) -> Result<Option<RouteMessage>, KernelError> {
    let mut query = RouteMessage::default();
    query.header.address_family = address_family(IpFamily::of(destination));
    query.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
    query
        .attributes
        .push(RouteAttribute::Destination(destination.into()));
    let words = format!("look up the route to {destination}");
    match socket.get(kind::GET_ROUTE, &bytes_of(&query), &words) {
        Ok(answer) => parsed(&answer, &words).map(Some),
        Err(error) if error.errno().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The unicast routes of one family, every table.
///
/// # Errors
/// The socket's.
pub fn list(socket: &mut RouteSocket, family: IpFamily) -> Result<Vec<RouteSpec>, KernelError> {
    let mut query = RouteMessage::default();
    query.header.address_family = address_family(family);
    let words = "list routes";
    let mut routes = Vec::new();
    for answer in socket.dump(kind::GET_ROUTE, &bytes_of(&query), words)? {
        let message: RouteMessage = parsed(&answer, words)?;
        if message.header.kind == RouteType::Unicast {
            routes.extend(read(&message));
        }
    }
    Ok(routes)
}

/// The unicast routes of one family by one interface, filtered by the kernel.
///
/// # Errors
/// The socket's.
pub fn list_of_link(
    socket: &mut RouteSocket,
    family: IpFamily,
    link: u32,
) -> Result<Vec<RouteSpec>, KernelError> {
    let mut query = RouteMessage::default();
    query.header.address_family = address_family(family);
    query.attributes.push(RouteAttribute::Oif(link));
    let words = "list the routes by a link";
    let mut routes = Vec::new();
    for answer in socket.dump(kind::GET_ROUTE, &bytes_of(&query), words)? {
        let message: RouteMessage = parsed(&answer, words)?;
        if message.header.kind == RouteType::Unicast {
            routes.extend(read(&message).filter(|route| route.link == link));
        }
    }
    Ok(routes)
}

/// The interfaces by which IPv6 routes lead that routers have advertised.
///
/// # Errors
/// The socket's.
pub fn advertised_links(socket: &mut RouteSocket) -> Result<BTreeSet<u32>, KernelError> {
    let mut query = RouteMessage::default();
    query.header.address_family = AddressFamily::Inet6;
    let words = "list the routes of routers";
    let mut links = BTreeSet::new();
    for answer in socket.dump(kind::GET_ROUTE, &bytes_of(&query), words)? {
        let message: RouteMessage = parsed(&answer, words)?;
        if message.header.protocol == RouteProtocol::Ra {
            links.extend(read(&message).map(|route| route.link));
        }
    }
    Ok(links)
}

/// A unicast route; none for one of another type.
pub(crate) fn read_unicast(message: &RouteMessage) -> Option<RouteSpec> {
    let is_unicast = message.header.kind == RouteType::Unicast;
    read(message).filter(|_| is_unicast)
}

/// The destination; that of all addresses is not named.
pub(crate) fn destination_of(message: &RouteMessage) -> Option<IpNetwork> {
    let named = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => Some(ip(address)),
            _ => None,
        });
    let is_ipv4 = message.header.address_family == AddressFamily::Inet;
    let address = match named {
        Some(address) => address?,
        None if is_ipv4 => [0, 0, 0, 0].into(),
        None => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    IpNetwork::new(address, message.header.destination_prefix_length).ok()
}

fn read(message: &RouteMessage) -> Option<RouteSpec> {
    let mut route = RouteSpec {
        dst: destination_of(message)?,
        gateway: None,
        link: 0,
        priority: None,
        table: Some(u32::from(message.header.table)),
        scope: Some(message.header.scope.into()),
        mtu: None,
        advmss: None,
        source: None,
        is_gateway_on_link: message.header.flags.contains(RouteFlags::Onlink),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::Oif(index) => route.link = *index,
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::Priority(priority) => route.priority = Some(*priority),
            RouteAttribute::Table(table) => route.table = Some(*table),
            RouteAttribute::Metrics(metrics) => route.read_metrics(metrics),
            _ => {}
        }
    }
    Some(route)
}

impl RouteSpec {
    fn read_metrics(&mut self, metrics: &[RouteMetric]) {
        for metric in metrics {
            match metric {
                RouteMetric::Mtu(mtu) => self.mtu = Some(*mtu),
                RouteMetric::Advmss(advmss) => self.advmss = Some(*advmss),
                _ => {}
            }
        }
    }
}

pub(crate) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}
