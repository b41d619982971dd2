//! Neighbours: which MAC an address has, told instead of asked for.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, bytes_of, kind, parsed};
use crate::policy_routing::PROTOCOL;
use netlink_packet_route::route::RouteProtocol;
use weft_cni::Mac;

fn message(link: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.header.ifindex = link;
    let address = match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    };
    message
        .attributes
        .push(NeighbourAttribute::Destination(address));
    message
}

/// The same as [`set_permanent`], marked with Weft's protocol number.
pub fn set_own(link: u32, address: IpAddr, mac: Mac, batch: &mut Batch) {
    let mut message = message(link, address);
    message.header.state = NeighbourState::Permanent;
    message.attributes.extend([
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ]);
    let words = format!("set the MAC of {address} on link {link} to {mac}");
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    batch.push(kind::NEW_NEIGHBOUR, &message, flags, words);
}

/// Sets the MAC of a neighbour for good, whatever was known of it.
pub fn set_permanent(link: u32, address: IpAddr, mac: Mac, batch: &mut Batch) {
    let mut message = message(link, address);
    message.header.state = NeighbourState::Permanent;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    let words = format!("set the MAC of {address} on link {link} to {mac}");
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    batch.push(kind::NEW_NEIGHBOUR, &message, flags, words);
}

/// Forgets a neighbour.
pub fn delete(link: u32, address: IpAddr, batch: &mut Batch) {
    let words = format!("forget neighbour {address} on link {link}");
    batch.push(kind::DELETE_NEIGHBOUR, &message(link, address), 0, words);
}

/// The neighbours of a link that have Weft's protocol number.
///
/// # Errors
/// The socket's.
pub fn own_of_link(socket: &mut RouteSocket, link: u32) -> Result<Vec<(IpAddr, Mac)>, KernelError> {
    let words = format!("list the neighbours of link {link}");
    let mut query = NeighbourMessage::default();
    query.attributes.push(NeighbourAttribute::IfIndex(link));
    let mut found = Vec::new();
    for answer in socket.dump(kind::GET_NEIGHBOUR, &bytes_of(&query), &words)? {
        let message: NeighbourMessage = parsed(&answer, &words)?;
        let mark = NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL));
        let is_meant = message.header.ifindex == link && message.attributes.contains(&mark);
        if is_meant {
            found.extend(destination(&message).zip(mac(&message)));
        }
    }
    Ok(found)
}

fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    let mut attributes = message.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })
}

fn mac(message: &NeighbourMessage) -> Option<Mac> {
    let mut attributes = message.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Mac::from_slice(bytes),
        _ => None,
    })
}

/// The MAC that was set for good for an address.
///
/// # Errors
/// The socket's.
pub fn permanent(
    socket: &mut RouteSocket,
    link: u32,
    address: IpAddr,
) -> Result<Option<Mac>, KernelError> {
    let words = format!("look up neighbour {address} on link {link}");
    let answer = match socket.get(
        kind::GET_NEIGHBOUR,
        &bytes_of(&message(link, address)),
        &words,
    ) {
        Ok(answer) => parsed::<NeighbourMessage>(&answer, &words)?,
        Err(error) if error.errno().is_some() => return Ok(None),
        Err(error) => return Err(error),
    };
    if answer.header.state != NeighbourState::Permanent {
        return Ok(None);
    }
    Ok(mac(&answer))
}
