//! Parts of rules: what of a packet is loaded, and what it is compared with.

use weft_kernel::nft::{Expression, Set, Verdict};
use weft_node::names::{CLOSED_LINK_GROUP, LINK_GROUP};

/// NFT_REG32_00; sixteen bytes from here are NFT_REG_1.
pub const FIRST: u32 = 8;
/// NFT_REG_VERDICT: a map of verdicts puts them there.
const VERDICT: u32 = 0;

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_IIFTYPE: u32 = 8;
const META_PROTOCOL: u32 = 1;
const META_L4PROTO: u32 = 16;
const META_IIFGROUP: u32 = 21;
const META_OIFGROUP: u32 = 22;
const LINK_LAYER: u32 = 0;
const NETWORK_LAYER: u32 = 1;
const TRANSPORT_LAYER: u32 = 2;

const fn meta(key: u32, register: u32) -> Expression {
    Expression::Meta { key, register }
}

/// The interface by which the packet came.
pub const fn input_name(register: u32) -> Expression {
    meta(META_IIFNAME, register)
}

/// The group of that interface.
const fn input_group(register: u32) -> Expression {
    meta(META_IIFGROUP, register)
}

/// The kind of that interface (ARPHRD_*).
const fn input_type(register: u32) -> Expression {
    meta(META_IIFTYPE, register)
}

/// The packet came in a frame of Ethernet.
pub fn came_by_ethernet() -> [Expression; 2] {
    const ARPHRD_ETHER: u16 = 1;
    [input_type(FIRST), is(&ARPHRD_ETHER.to_ne_bytes())]
}

/// The packet came by an interface of the host that containers are behind: of an open network, or of a closed one.
pub fn is_weft_input() -> [[Expression; 2]; 2] {
    [LINK_GROUP, CLOSED_LINK_GROUP].map(|group| [input_group(FIRST), is(&group.to_ne_bytes())])
}

/// The packet came by another interface.
pub fn is_no_weft_input() -> Vec<Expression> {
    let not = |group: u32| [input_group(FIRST), is_not(&group.to_ne_bytes())];
    [not(LINK_GROUP), not(CLOSED_LINK_GROUP)].concat()
}

/// The packet came by an interface of a closed network, or leaves by one.
pub fn is_closed_group() -> [[Expression; 2]; 2] {
    let group = CLOSED_LINK_GROUP.to_ne_bytes();
    [
        [input_group(FIRST), is(&group)],
        [meta(META_OIFGROUP, FIRST), is(&group)],
    ]
}

/// The interface by which it leaves.
pub const fn output_name(register: u32) -> Expression {
    meta(META_OIFNAME, register)
}

/// What is in a frame (ETH_P_*, big-endian).
pub const fn ether_type(register: u32) -> Expression {
    meta(META_PROTOCOL, register)
}

/// What is in an IP packet (IPPROTO_*).
pub const fn l4_protocol(register: u32) -> Expression {
    meta(META_L4PROTO, register)
}

const fn payload(base: u32, offset: u32, length: u32, register: u32) -> Expression {
    Expression::Payload {
        base,
        offset,
        length,
        register,
    }
}

/// Loads bytes of the link layer's header.
pub const fn link_layer(offset: u32, length: u32, register: u32) -> Expression {
    payload(LINK_LAYER, offset, length, register)
}

/// Loads bytes of the IP header.
pub const fn network_layer(offset: u32, length: u32, register: u32) -> Expression {
    payload(NETWORK_LAYER, offset, length, register)
}

/// Loads bytes of the transport protocol's header.
pub const fn transport_layer(offset: u32, length: u32, register: u32) -> Expression {
    payload(TRANSPORT_LAYER, offset, length, register)
}

/// The port that is asked for.
pub const fn destination_port(register: u32) -> Expression {
    transport_layer(2, 2, register)
}

/// The first register has this value.
pub fn is(value: &[u8]) -> Expression {
    Expression::Compare {
        register: FIRST,
        negated: false,
        value: value.to_vec(),
    }
}

/// The first register has another value.
pub fn is_not(value: &[u8]) -> Expression {
    Expression::Compare {
        register: FIRST,
        negated: true,
        value: value.to_vec(),
    }
}

/// The first register, of so many bits set in `bits`, has one of them.
pub fn has_any(bits: u32) -> [Expression; 2] {
    [
        Expression::Mask {
            register: FIRST,
            mask: bits.to_ne_bytes().to_vec(),
        },
        is_not(&[0; 4]),
    ]
}

/// What the registers hold is in a set.
pub fn is_in(set: &Set) -> Expression {
    Expression::Lookup {
        set: set.name.clone(),
        register: FIRST,
        value_register: None,
        negated: false,
    }
}

/// What the registers hold is not in a set.
pub fn is_not_in(set: &Set) -> Expression {
    Expression::Lookup {
        set: set.name.clone(),
        register: FIRST,
        value_register: None,
        negated: true,
    }
}

/// On to the chain that a map has for what the registers hold.
pub fn jump_by(map: &Set) -> Expression {
    Expression::Lookup {
        set: map.name.clone(),
        register: FIRST,
        value_register: Some(VERDICT),
        negated: false,
    }
}

/// The packet passes this chain and goes on to those of others.
pub const ACCEPT: Expression = Expression::Verdict(Verdict::Accept);
/// The packet ends here.
pub const DROP: Expression = Expression::Verdict(Verdict::Drop);

/// A datum of the connection (`NFT_CT_*`) has one of these bits.
fn connection_has(key: u32, bits: u32) -> Vec<Expression> {
    let mut parts = vec![Expression::Connection {
        key,
        register: FIRST,
    }];
    parts.extend(has_any(bits));
    parts
}

const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;

/// The connection is known (`ct state established`).
pub fn is_known_connection() -> Vec<Expression> {
    const ESTABLISHED: u32 = 1 << 1;
    connection_has(CT_STATE, ESTABLISHED)
}

/// The packet is about a connection that is known: an error (`ct state related`).
pub fn is_about_connection() -> Vec<Expression> {
    const RELATED: u32 = 1 << 2;
    connection_has(CT_STATE, RELATED)
}

/// The packet is of no connection and can begin none (`ct state invalid`): no address of it is translated.
pub fn is_invalid() -> Vec<Expression> {
    const INVALID: u32 = 1;
    connection_has(CT_STATE, INVALID)
}

/// The frame is for one receiver (IEEE 802: the group bit is not set).
pub fn is_unicast() -> [Expression; 3] {
    const GROUP_BIT: u8 = 1;
    [
        link_layer(0, 1, FIRST),
        Expression::Mask {
            register: FIRST,
            mask: vec![GROUP_BIT],
        },
        is(&[0]),
    ]
}

/// The packet begins a connection: it is new (`ct state new`), and not for want of an answer to packets
/// before this one.
pub fn begins_connection() -> Vec<Expression> {
    const NEW: u32 = 1 << 3;
    const CONFIRMED: u32 = 1 << 3;
    let mut parts = connection_has(CT_STATE, NEW);
    parts.extend(status_lacks(CONFIRMED));
    parts
}

/// The connection's status has none of these bits.
fn status_lacks(bits: u32) -> [Expression; 3] {
    [
        Expression::Connection {
            key: CT_STATUS,
            register: FIRST,
        },
        Expression::Mask {
            register: FIRST,
            mask: bits.to_ne_bytes().to_vec(),
        },
        is(&[0; 4]),
    ]
}

const DESTINATION_NAT: u32 = 1 << 5;

/// The connection's destination was rewritten (`ct status dnat`).
pub fn was_translated() -> Vec<Expression> {
    connection_has(CT_STATUS, DESTINATION_NAT)
}
