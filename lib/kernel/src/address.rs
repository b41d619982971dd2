//! Addresses of interfaces.

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
};

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, bytes_of, kind, parsed};

/// Duplicate address detection of an IPv6 address (RFC 4862, section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DuplicateDetection {
    /// Usable at once.
    Skip,
    /// As the kernel's settings say.
    Run,
}

fn message(index: u32, address: &IpNetwork) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix();
    message.header.family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message
        .attributes
        .push(AddressAttribute::Local(address.ip()));
    message
        .attributes
        .push(AddressAttribute::Address(address.ip()));
    message
}

/// Adds an address; one that is there already is an error.
pub fn add(index: u32, address: &IpNetwork, detection: DuplicateDetection, batch: &mut Batch) {
    let mut message = message(index, address);
    match address {
        // The kernel sets no broadcast address by itself; /31 and /32 have none (RFC 3021).
        IpNetwork::V4(v4) if v4.prefix() < 31 => {
            message
                .attributes
                .push(AddressAttribute::Broadcast(v4.broadcast()));
        }
        IpNetwork::V6(_) if detection == DuplicateDetection::Skip => {
            message.header.flags = AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        IpNetwork::V4(_) | IpNetwork::V6(_) => {}
    }
    // Linux 5.18 and later remember which program added an address.
    message
        .attributes
        .push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    let words = format!("add address {address} to link {index}");
    batch.push(
        kind::NEW_ADDRESS,
        &message,
        NLM_F_CREATE | NLM_F_EXCL,
        words,
    );
}

/// Removes an address.
pub fn delete(index: u32, address: &IpNetwork, batch: &mut Batch) {
    let words = format!("remove address {address} from link {index}");
    batch.push(kind::DELETE_ADDRESS, &message(index, address), 0, words);
}

/// IFA_PROTO of addresses added here: 'w'. 0 to 3 are the kernel's (linux/if_addr.h).
const PROTOCOL: u8 = 0x77;

/// An address as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// The interface, by index.
    pub link: u32,
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// It was added by [`add`], as far as the kernel remembers.
    pub is_own: bool,
    /// A router has advertised it, as far as the kernel remembers.
    pub is_by_router: bool,
    /// Duplicate address detection is not over.
    pub is_tentative: bool,
    /// Duplicate address detection found another owner.
    pub is_duplicate: bool,
}

/// The addresses of one interface, both families, filtered by the kernel.
///
/// # Errors
/// The socket's.
pub fn list(socket: &mut RouteSocket, index: u32) -> Result<Vec<Assigned>, KernelError> {
    let mut query = AddressMessage::default();
    query.header.index = index;
    let words = format!("list the addresses of link {index}");
    let mut assigned = Vec::new();
    for answer in socket.dump(kind::GET_ADDRESS, &bytes_of(&query), &words)? {
        let message: AddressMessage = parsed(&answer, &words)?;
        if message.header.index == index {
            assigned.extend(read(&message));
        }
    }
    Ok(assigned)
}

/// The addresses of all interfaces, both families.
///
/// # Errors
/// The socket's.
pub fn list_all(socket: &mut RouteSocket) -> Result<Vec<Assigned>, KernelError> {
    let words = "list all addresses";
    let mut assigned = Vec::new();
    for answer in socket.dump(
        kind::GET_ADDRESS,
        &bytes_of(&AddressMessage::default()),
        words,
    )? {
        assigned.extend(read(&parsed(&answer, words)?));
    }
    Ok(assigned)
}

pub(crate) fn read(message: &AddressMessage) -> Option<Assigned> {
    let mut local = None;
    let mut peer = None;
    let mut flags = AddressFlags::empty();
    let (mut is_own, mut is_by_router) = (false, false);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Protocol(protocol) => {
                is_own = u8::from(*protocol) == PROTOCOL;
                is_by_router = *protocol == AddressProtocol::RouterAnnouncement;
            }
            _ => {}
        }
    }
    let address = IpNetwork::new(local.or(peer)?, message.header.prefix_len).ok()?;
    Some(Assigned {
        link: message.header.index,
        address,
        is_own,
        is_by_router,
        is_tentative: flags.contains(AddressFlags::Tentative),
        is_duplicate: flags.contains(AddressFlags::Dadfailed),
    })
}
