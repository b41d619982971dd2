//! The two tables, the sets of address translation, and what differs between the IP families.

use weft_cni::IpFamily;
use weft_kernel::nft::{Expression, Family, Key, Set, SetKind, Table, name};

use super::matching::{FIRST, is, network_layer};

/// The table that decides about packets and translates addresses.
pub const NAT: Table = Table {
    family: Family::Inet,
    name: name("weft"),
};
/// The table that sees frames between the ports of a bridge.
pub(super) const GUARD: Table = Table {
    family: Family::Bridge,
    name: name("weft"),
};
/// Both, in the order in which they are made.
pub const TABLES: [Table; 2] = [NAT, GUARD];

/// A set of one of them.
pub(super) const fn set(
    table: Table,
    text: &'static str,
    key: &'static [Key],
    kind: SetKind,
) -> Set {
    Set {
        table,
        name: name(text),
        key,
        kind,
    }
}

/// Addresses that outside sees as the host's.
pub(super) const MASQ4: Set = set(NAT, "masq4", &[Key::Ipv4], SetKind::Hash);
pub(super) const MASQ6: Set = set(NAT, "masq6", &[Key::Ipv6], SetKind::Hash);
/// Addresses that outside sees as another one.
pub(super) const SNAT4: Set = set(NAT, "snat4", &[Key::Ipv4], SetKind::Map(&[Key::Ipv4]));
pub(super) const SNAT6: Set = set(NAT, "snat6", &[Key::Ipv6], SetKind::Map(&[Key::Ipv6]));
/// Source and destination networks between which nothing is rewritten: a few per network.
pub(super) const LOCAL4: Set = set(NAT, "local4", &[Key::Ipv4, Key::Ipv4], SetKind::Interval);
pub(super) const LOCAL6: Set = set(NAT, "local6", &[Key::Ipv6, Key::Ipv6], SetKind::Interval);

/// In front of the names of sets whose elements are the members of a policy's selector.
pub(crate) const MEMBERS: &str = "sel_";

/// In front of the names of chains with the rules for one destination.
pub(crate) const DESTINATION: &str = "to_";

/// Whether a set is one of members.
pub fn is_member_set(name: &str) -> bool {
    name.starts_with(MEMBERS)
}

/// A set of members by its name.
pub fn member_set(text: &str) -> Option<Set> {
    if !is_member_set(text) {
        return None;
    }
    let key: &'static [Key] = if text.ends_with("_4") {
        &[Key::Ipv4]
    } else {
        &[Key::Ipv6]
    };
    Some(Set {
        table: NAT,
        name: text.to_owned().into(),
        key,
        kind: SetKind::Hash,
    })
}

const META_NFPROTO: u32 = 15;

/// How rules look at the packets of one IP family.
#[derive(Debug)]
pub struct FamilyLayout {
    /// Of the addresses that the sets hold.
    pub family: IpFamily,
    /// Where the source address begins in the header, in bytes.
    pub source: u32,
    /// Where the destination address begins.
    pub destination: u32,
    /// How long an address is.
    pub length: u32,
    /// `NFT_CT_SRC_IP` or `NFT_CT_SRC_IP6`.
    pub(super) connection_source: u32,
    pub(super) multicast: &'static [u8],
    pub(super) multicast_mask: &'static [u8],
    pub(super) local: Set,
    pub(super) snat: Set,
    pub(super) masq: Set,
}

/// IPv4.
pub const IPV4: FamilyLayout = FamilyLayout {
    family: IpFamily::V4,
    source: 12,
    destination: 16,
    length: 4,
    connection_source: 19,
    multicast: &[224, 0, 0, 0],
    multicast_mask: &[0xf0, 0, 0, 0],
    local: LOCAL4,
    snat: SNAT4,
    masq: MASQ4,
};
/// IPv6.
pub const IPV6: FamilyLayout = FamilyLayout {
    family: IpFamily::V6,
    source: 8,
    destination: 24,
    length: 16,
    connection_source: 21,
    multicast: &[0xff],
    multicast_mask: &[0xff],
    local: LOCAL6,
    snat: SNAT6,
    masq: MASQ6,
};

impl FamilyLayout {
    /// The packet is of this family.
    pub fn is_this(&self) -> [Expression; 2] {
        [
            Expression::Meta {
                key: META_NFPROTO,
                register: FIRST,
            },
            is(&[self.family.number()]),
        ]
    }

    pub(super) fn load(&self, offset: u32, length: u32, register: u32) -> Expression {
        network_layer(offset, length, register)
    }

    pub(super) fn multicast_length(&self) -> u32 {
        if self.multicast.len() == 4 { 4 } else { 1 }
    }

    pub(super) fn lookup(&self, set: &Set, value_register: Option<u32>) -> Expression {
        Expression::Lookup {
            set: set.name.clone(),
            register: FIRST,
            value_register,
            negated: false,
        }
    }
}
