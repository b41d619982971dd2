//! Nexthop objects (linux/nexthop.h): what many routes lead by, changed in one place. Linux 5.3 and later.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use weft_cni::IpFamily;

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, kind};
use crate::nft::{attribute_bytes, attributes};
use crate::policy_routing::PROTOCOL;

/// A nexthop object with Weft's protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nexthop {
    /// Its number, the same in all tables.
    pub id: u32,
    /// The interface, by index.
    pub link: u32,
    /// The neighbour.
    pub gateway: IpAddr,
}

/// struct nhmsg: family, scope, protocol, one byte reserved, flags.
const HEADER: usize = 8;
const ID: u16 = 1;
const LINK: u16 = 5;
const GATEWAY: u16 = 6;
/// The neighbour is on the link, though no route says so (linux/rtnetlink.h).
const ON_LINK: u32 = 4;

fn header(family: u8, protocol: u8, flags: u32) -> Vec<u8> {
    let mut bytes = vec![family, 0, protocol, 0];
    bytes.extend(flags.to_ne_bytes());
    bytes
}

impl Nexthop {
    /// Adds the object; one with the same number becomes this one.
    pub fn put(&self, batch: &mut Batch) {
        let family = IpFamily::of(self.gateway).number();
        let mut bytes = header(family, PROTOCOL, ON_LINK);
        bytes.extend(attribute_bytes(ID, &self.id.to_ne_bytes()));
        bytes.extend(attribute_bytes(LINK, &self.link.to_ne_bytes()));
        bytes.extend(match self.gateway {
            IpAddr::V4(v4) => attribute_bytes(GATEWAY, &v4.octets()),
            IpAddr::V6(v6) => attribute_bytes(GATEWAY, &v6.octets()),
        });
        let words = format!("put nexthop {} by {}", self.id, self.gateway);
        batch.push_bytes(
            kind::NEW_NEXTHOP,
            bytes,
            NLM_F_CREATE | NLM_F_REPLACE,
            words,
        );
    }

    /// Removes the object, and with it the routes by it.
    pub fn delete(&self, batch: &mut Batch) {
        let mut bytes = header(0, 0, 0);
        bytes.extend(attribute_bytes(ID, &self.id.to_ne_bytes()));
        let words = format!("remove nexthop {}", self.id);
        batch.push_bytes(kind::DELETE_NEXTHOP, bytes, 0, words);
    }
}

/// All nexthop objects with Weft's number.
///
/// # Errors
/// The socket's; a kernel without them refuses.
pub fn list(socket: &mut RouteSocket) -> Result<Vec<Nexthop>, KernelError> {
    let words = "list nexthop objects";
    let answers = socket.dump(kind::GET_NEXTHOP, &header(0, 0, 0), words)?;
    Ok(answers.iter().filter_map(|answer| read(answer)).collect())
}

/// None of others', or without a gateway.
pub(crate) fn read(message: &[u8]) -> Option<Nexthop> {
    if *message.get(2)? != PROTOCOL {
        return None;
    }
    let (mut id, mut link, mut gateway) = (None, 0, None);
    for (kind, value) in attributes(message.get(HEADER..)?) {
        match kind {
            ID => id = value.first_chunk().copied().map(u32::from_ne_bytes),
            LINK => link = value.first_chunk().copied().map_or(0, u32::from_ne_bytes),
            GATEWAY => {
                let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
                gateway = v4
                    .or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from))
                    .ok();
            }
            _ => {}
        }
    }
    Some(Nexthop {
        id: id?,
        link,
        gateway: gateway?,
    })
}
