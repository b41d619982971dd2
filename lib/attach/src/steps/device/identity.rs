//! Which interface is the one that was lent.

use weft_kernel::NetNs;
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::RouteSocket;
use weft_node::{WeftError, namespaces};
use weft_store::{DeviceIdentity, DevicePeer, DeviceRecord};

/// Whether it must be somewhere: hardware comes back by itself when its namespace ends, and of a pair whose other end is
/// on the host both ends are there or none.
pub(super) fn is_alive(socket: &mut RouteSocket, device: &DeviceRecord) -> Result<bool, WeftError> {
    let Some(identity) = &device.identity else {
        return Ok(false);
    };
    match (identity.kind.as_deref(), identity.peer) {
        (None, _) => Ok(identity.permanent_mac.is_some()),
        (
            Some("veth"),
            Some(DevicePeer {
                index,
                netns_id: None,
            }),
        ) => {
            let other = link::find_index(socket, index)?;
            let is_its =
                |other: &Link| other.kind == identity.kind && other.peer_netns_id.is_some();
            Ok(other.is_some_and(|other| is_its(&other)))
        }
        _ => Ok(false),
    }
}

/// What an interface on the host is known by.
pub(super) fn of(link: &Link) -> DeviceIdentity {
    DeviceIdentity {
        kind: link.kind.clone(),
        permanent_mac: link.permanent_mac,
        peer: peer_of(link),
        index_inside: link.index,
    }
}

fn peer_of(link: &Link) -> Option<DevicePeer> {
    link.parent.map(|index| DevicePeer {
        index,
        netns_id: link.peer_netns_id,
    })
}

/// Whether an interface on the host is the one of a record.
pub(super) fn is_at_home(device: &DeviceRecord, link: &Link) -> bool {
    let Some(identity) = &device.identity else {
        return link.alternative_names.contains(&device.alternative_name);
    };
    is_alike(identity, link)
        && identity.peer == peer_of(link)
        && (is_unique(identity) || link.index == device.index || is_marked(device, link))
}

/// On the host only Weft gives these names. The index may be another one when it comes home.
fn is_marked(device: &DeviceRecord, link: &Link) -> bool {
    let name = &device.alternative_name;
    link.alternative_names.contains(name) || link.name == free_name(name)
}

/// A name for the moment of the way home: the alternative one cannot be used twice.
pub(super) fn free_name(alternative_name: &str) -> String {
    let tail: String = alternative_name.chars().skip(4).collect();
    format!("wefd{tail}")
}

/// The interface of a record in another namespace, if it is there.
pub(super) fn find_in(
    inside: &mut RouteSocket,
    home: &NetNs,
    device: &DeviceRecord,
) -> Result<Option<Link>, WeftError> {
    let Some(identity) = &device.identity else {
        return find_unidentified(inside, device);
    };
    let mut found = link::list(inside)?;
    found.retain(|link| {
        is_alike(identity, link) && (is_unique(identity) || link.index == identity.index_inside)
    });
    // Functions of one device may have one address.
    found.sort_by_key(|link| link.index != identity.index_inside);
    for link in found {
        if has_peer(inside, home, identity.peer, &link)? {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

fn is_alike(identity: &DeviceIdentity, link: &Link) -> bool {
    !link.is_loopback
        && link.kind == identity.kind
        && link.permanent_mac == identity.permanent_mac
        && link.parent == identity.peer.map(|peer| peer.index)
}

/// Hardware has its address, and a pair one other end. Of other interfaces there may be several alike, on one parent for
/// example, and a container can make another one there: the index decides.
fn is_unique(identity: &DeviceIdentity) -> bool {
    let is_pair = identity.kind.as_deref() == Some("veth") && identity.peer.is_some();
    identity.permanent_mac.is_some() || is_pair
}

/// Whether what the interface sits on is in the namespace that it was in. Each namespace has ids of its own for
/// others, so they are compared by the namespaces themselves.
fn has_peer(
    inside: &mut RouteSocket,
    home: &NetNs,
    peer: Option<DevicePeer>,
    link: &Link,
) -> Result<bool, WeftError> {
    let Some(peer) = peer else {
        return Ok(true);
    };
    // An interface whose peer is in its own namespace shows no id: it was made there, or went there by other hands.
    let Some(seen) = link.peer_netns_id else {
        return Ok(false);
    };
    let Some(id) = peer.netns_id else {
        return Ok(inside.netns_id(home)? == Some(seen));
    };
    let mut socket = RouteSocket::open()?;
    for netns in namespaces::all() {
        if socket.netns_id(&netns)? == Some(id) {
            return Ok(inside.netns_id(&netns)? == Some(seen));
        }
    }
    Ok(false)
}

/// For a record of an earlier version: by the alternative name; without that by the index and the MAC.
fn find_unidentified(
    inside: &mut RouteSocket,
    device: &DeviceRecord,
) -> Result<Option<Link>, WeftError> {
    if let Some(there) = link::find(inside, &device.alternative_name)? {
        return Ok(Some(there));
    }
    let has = |mac| device.mac.is_some() && mac == device.mac;
    let there = link::find_index(inside, device.index)?;
    Ok(there.filter(|link| !link.is_loopback && (has(link.permanent_mac) || has(link.mac))))
}
