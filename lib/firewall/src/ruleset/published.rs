//! Ports of the host that lead to containers: sets, chains and rules.
//!
//! What is sent to the host itself on a published port goes to the container, wherever it comes from:
//! outside, another container, the host, or the container itself. What only passes through the
//! host is never touched. The source stays what it is, except where the answer would otherwise miss
//! the host: from the container's own network, and from 127.0.0.0/8.
//!
//! Why it is so: docs/decisions/ports.md.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_cni::IpFamily;
use weft_kernel::nft::{BaseChain, Chain, Expression, Key, Set, SetKind, Verdict, name};
use weft_store::{NftRecord, PortRecord};

use super::guard::{REACHED4, REACHED6};
use super::isolation::{OPENED4, OPENED6};
use super::key::{hex, ifname_bytes, interval_in, ip_bytes, record, service};
use super::matching::{
    FIRST, came_by_ethernet, destination_port, input_name, is, is_not, l4_protocol, link_layer,
    was_translated,
};
use super::tables::{FamilyLayout, IPV4, IPV6, NAT, set};

const TO4: SetKind = SetKind::Map(&[Key::Ipv4, Key::Service]);
const TO6: SetKind = SetKind::Map(&[Key::Ipv6, Key::Service]);

/// Ports of every address of the host.
pub(super) const PUBLISHED4: Set = set(NAT, "published4", &[Key::Protocol, Key::Service], TO4);
pub(super) const PUBLISHED6: Set = set(NAT, "published6", &[Key::Protocol, Key::Service], TO6);
/// Ports of one address of the host.
pub(super) const PUBLISHED_AT4: Set = set(
    NAT,
    "published_at4",
    &[Key::Ipv4, Key::Protocol, Key::Service],
    TO4,
);
pub(super) const PUBLISHED_AT6: Set = set(
    NAT,
    "published_at6",
    &[Key::Ipv6, Key::Protocol, Key::Service],
    TO6,
);
/// Source and destination networks whose traffic by a published port gets the host as source.
pub(super) const HAIRPIN4: Set = set(NAT, "hairpin4", &[Key::Ipv4, Key::Ipv4], SetKind::Interval);
pub(super) const HAIRPIN6: Set = set(NAT, "hairpin6", &[Key::Ipv6, Key::Ipv6], SetKind::Interval);
/// The same for an address to itself, where all other answers pass the host anyway.
pub(super) const SELF4: Set = set(NAT, "self4", &[Key::Ipv4, Key::Ipv4], SetKind::Hash);
pub(super) const SELF6: Set = set(NAT, "self6", &[Key::Ipv6, Key::Ipv6], SetKind::Hash);
/// A container's port.
const PORT4: &[Key] = &[Key::Ipv4, Key::Protocol, Key::Service];
const PORT6: &[Key] = &[Key::Ipv6, Key::Protocol, Key::Service];
/// Containers' ports for which it does.
pub(super) const REFLECTED4: Set = set(NAT, "reflected4", PORT4, SetKind::Hash);
pub(super) const REFLECTED6: Set = set(NAT, "reflected6", PORT6, SetKind::Hash);
/// Containers' ports that see the host as the source of everything that comes by a published port.
pub(super) const HIDDEN4: Set = set(NAT, "hidden4", PORT4, SetKind::Hash);
pub(super) const HIDDEN6: Set = set(NAT, "hidden6", PORT6, SetKind::Hash);

/// All of them.
pub(super) const SETS: [Set; 12] = [
    PUBLISHED4,
    PUBLISHED6,
    PUBLISHED_AT4,
    PUBLISHED_AT6,
    HAIRPIN4,
    HAIRPIN6,
    SELF4,
    SELF6,
    REFLECTED4,
    REFLECTED6,
    HIDDEN4,
    HIDDEN6,
];

const PRE_ROUTING: u32 = 0;
const OUTPUT: u32 = 3;
/// Five before dstnat (-100), so that Weft decides before host-wide rules.
const DSTNAT: i32 = -105;
/// Before fragments are put together (NF_IP_PRI_CONNTRACK_DEFRAG, -400): the whole would have the first
/// one's frame.
const BEFORE_DEFRAGMENTATION: i32 = -450;

const fn base(text: &'static str, kind: &'static str, hook: u32, priority: i32) -> Chain {
    Chain {
        table: NAT,
        name: name(text),
        base: Some(BaseChain {
            kind,
            hook,
            priority,
        }),
    }
}

const NAT_PRE: Chain = base("nat_pre", "nat", PRE_ROUTING, DSTNAT);
const NAT_OUT: Chain = base("nat_out", "nat", OUTPUT, DSTNAT);
const RAW_PRE: Chain = base("raw_pre", "filter", PRE_ROUTING, BEFORE_DEFRAGMENTATION);
const PUBLISHED: Chain = Chain {
    table: NAT,
    name: name("published"),
    base: None,
};

/// Chains of the `inet` table with their rules.
pub(super) fn chains() -> Vec<(Chain, Vec<Vec<Expression>>)> {
    let to_host_itself = || {
        const RTN_LOCAL: u32 = 2;
        vec![
            Expression::DestinationType { register: FIRST },
            is(&RTN_LOCAL.to_ne_bytes()),
            Expression::Verdict(Verdict::Jump(PUBLISHED.name)),
        ]
    };
    let [at, any] = translations(&IPV4);
    let mut published = vec![at, leave_other_loopback(), any];
    published.push(leave_loopback());
    published.extend(translations(&IPV6));
    vec![
        (NAT_PRE, vec![to_host_itself()]),
        (NAT_OUT, vec![to_host_itself()]),
        (
            RAW_PRE,
            vec![
                drop_foreign_loopback(IPV4.destination),
                drop_foreign_loopback(IPV4.source),
                drop_reserved_frames(),
            ],
        ),
        (PUBLISHED, published),
    ]
}

/// The address that was asked for first, then any.
fn translations(protocol: &FamilyLayout) -> [Vec<Expression>; 2] {
    let (at, any) = match protocol.family {
        IpFamily::V4 => (PUBLISHED_AT4, PUBLISHED4),
        IpFamily::V6 => (PUBLISHED_AT6, PUBLISHED6),
    };
    let words = protocol.length / 4;
    let translate = || Expression::DestinationNat {
        protocol: u32::from(protocol.family.number()),
        address: FIRST,
        port: FIRST + words,
    };
    let rule = |rest: Vec<Expression>| protocol.is_this().into_iter().chain(rest).collect();
    [
        rule(vec![
            protocol.load(protocol.destination, protocol.length, FIRST),
            l4_protocol(FIRST + words),
            destination_port(FIRST + words + 1),
            protocol.lookup(&at, Some(FIRST)),
            translate(),
        ]),
        rule(vec![
            l4_protocol(FIRST),
            destination_port(FIRST + 1),
            protocol.lookup(&any, Some(FIRST)),
            translate(),
        ]),
    ]
}

/// Of 127.0.0.0/8 only 127.0.0.1 is meant by "every address": the others are the host's own services' (its
/// resolver's, 127.0.0.53).
fn leave_other_loopback() -> Vec<Expression> {
    let mut rule = IPV4.is_this().to_vec();
    rule.extend(is_loopback(IPV4.destination));
    rule.extend([
        IPV4.load(IPV4.destination, IPV4.length, FIRST),
        is_not(&std::net::Ipv4Addr::LOCALHOST.octets()),
        Expression::Verdict(Verdict::Return),
    ]);
    rule
}

/// The kernel forwards nothing from ::1: a client there is to be refused, and not to wait for ever.
fn leave_loopback() -> Vec<Expression> {
    let mut rule = IPV6.is_this().to_vec();
    rule.extend([
        IPV6.load(IPV6.destination, IPV6.length, FIRST),
        is(&std::net::Ipv6Addr::LOCALHOST.octets()),
        Expression::Verdict(Verdict::Return),
    ]);
    rule
}

/// A frame to an address that is reserved for bridges (IEEE 802.1Q, 01-80-C2-00-00-0X) is handed to the host
/// as its bridge port's own, past the bridge's hooks and past what is said of the bridge. Packets are sent
/// that way only to get past them.
fn drop_reserved_frames() -> Vec<Expression> {
    let mut rule = came_by_ethernet().to_vec();
    rule.extend([
        link_layer(0, 6, FIRST),
        Expression::Mask {
            register: FIRST,
            mask: vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xf0],
        },
        is(&[0x01, 0x80, 0xc2, 0, 0, 0]),
        Expression::Counter,
        Expression::Verdict(Verdict::Drop),
    ]);
    rule
}

/// `route_localnet` opens 127.0.0.0/8 to the neighbours of an interface; no neighbour may use it or speak
/// in its name.
fn drop_foreign_loopback(offset: u32) -> Vec<Expression> {
    let mut loopback = b"lo".to_vec();
    loopback.resize(16, 0);
    let mut rule = vec![input_name(FIRST), is_not(&loopback)];
    rule.extend(IPV4.is_this());
    rule.extend(is_loopback(offset));
    rule.extend([Expression::Counter, Expression::Verdict(Verdict::Drop)]);
    rule
}

/// The address at an offset of the IPv4 header is in 127.0.0.0/8.
fn is_loopback(offset: u32) -> [Expression; 2] {
    [IPV4.load(offset, 1, FIRST), is(&[127])]
}

/// What came by a published port and would be answered past the host gets the host as its source.
/// Other people's translations are told apart by where they lead to.
pub(super) fn postrouting_rules() -> Vec<Vec<Expression>> {
    let mut rules = Vec::new();
    for protocol in [&IPV4, &IPV6] {
        let (hairpin, own, reflected, hidden) = match protocol.family {
            IpFamily::V4 => (HAIRPIN4, SELF4, REFLECTED4, HIDDEN4),
            IpFamily::V6 => (HAIRPIN6, SELF6, REFLECTED6, HIDDEN6),
        };
        let words = protocol.length / 4;
        let leads_to = |set: &Set| {
            [
                protocol.load(protocol.destination, protocol.length, FIRST),
                l4_protocol(FIRST + words),
                destination_port(FIRST + words + 1),
                protocol.lookup(set, None),
            ]
        };
        let rule = |set: &Set, rest: &[Expression]| {
            let mut rule = was_translated();
            rule.extend(protocol.is_this());
            rule.extend(leads_to(set));
            rule.extend_from_slice(rest);
            rule.push(Expression::Masquerade);
            rule
        };
        let within = |set: &Set| {
            [
                protocol.load(protocol.source, protocol.length, FIRST),
                protocol.load(protocol.destination, protocol.length, FIRST + words),
                protocol.lookup(set, None),
            ]
        };
        rules.push(rule(&reflected, &within(&hairpin)));
        rules.push(rule(&reflected, &within(&own)));
        rules.push(rule(&hidden, &[]));
        if protocol.family == IpFamily::V4 {
            rules.push(rule(&reflected, &is_loopback(protocol.source)));
        }
    }
    rules
}

/// The element of a published port.
pub fn port_element(port: &PortRecord) -> NftRecord {
    let is_ipv4 = port.address.is_ipv4();
    let set = match (port.host_ip.is_some(), is_ipv4) {
        (true, true) => PUBLISHED_AT4,
        (true, false) => PUBLISHED_AT6,
        (false, true) => PUBLISHED4,
        (false, false) => PUBLISHED6,
    };
    let mut key = port.host_ip.map(ip_bytes).unwrap_or_default();
    key.extend([port.protocol, 0, 0, 0]);
    key.extend(service(port.host_port));
    let mut value = ip_bytes(port.address);
    value.extend(service(port.container_port));
    NftRecord {
        value: Some(hex(&value)),
        ..record(set, &key)
    }
}

/// A container's port, in the set of its family.
fn target([v4, v6]: [Set; 2], port: &PortRecord) -> NftRecord {
    record(
        if port.address.is_ipv4() { v4 } else { v6 },
        &target_key(port),
    )
}

fn target_key(port: &PortRecord) -> Vec<u8> {
    let mut key = ip_bytes(port.address);
    key.extend([port.protocol, 0, 0, 0]);
    key.extend(service(port.container_port));
    key
}

/// The host becomes the source of everything that comes by a published port.
pub fn hidden_element(port: &PortRecord) -> NftRecord {
    target([HIDDEN4, HIDDEN6], port)
}

/// The host becomes the source of what would be answered past it.
pub fn reflected_element(port: &PortRecord) -> NftRecord {
    target([REFLECTED4, REFLECTED6], port)
}

/// A container's port that a port of the host leads to, by routing.
pub fn opened_element(port: &PortRecord) -> NftRecord {
    target([OPENED4, OPENED6], port)
}

/// The same, on the bridge, by the port of the bridge that has the container.
pub fn reached_element(link: &str, port: &PortRecord) -> NftRecord {
    let set = match port.address.is_ipv4() {
        true => REACHED4,
        false => REACHED6,
    };
    record(set, &[ifname_bytes(link), target_key(port)].concat())
}

/// From an address to itself by a published port.
pub fn self_element(address: IpAddr) -> NftRecord {
    let set = if address.is_ipv4() { SELF4 } else { SELF6 };
    record(set, &ip_bytes(address).repeat(2))
}

/// From a network to itself by a published port.
pub fn hairpin_element(network: &IpNetwork) -> NftRecord {
    let set = if network.is_ipv4() {
        HAIRPIN4
    } else {
        HAIRPIN6
    };
    interval_in(set, network, network)
}

/// Whether an element leads from a port of the host to a container.
pub fn is_way_in(element: &NftRecord) -> bool {
    [PUBLISHED4, PUBLISHED6, PUBLISHED_AT4, PUBLISHED_AT6]
        .iter()
        .any(|set| set.name == element.set)
}

/// Whether an element is of a published port.
pub fn is_published(element: &NftRecord) -> bool {
    SETS.iter()
        .chain(&[OPENED4, OPENED6, REACHED4, REACHED6])
        .any(|set| set.name == element.set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_names_port_and_container() {
        let mut port = PortRecord {
            protocol: 6,
            host_port: 8080,
            host_ip: None,
            address: "10.1.0.2".parse().unwrap(),
            container_port: 80,
        };
        let element = port_element(&port);
        assert_eq!(element.set, "published4");
        assert_eq!(element.key, "060000001f900000");
        assert_eq!(element.value.as_deref(), Some("0a01000200500000"));
        port.host_ip = Some("192.0.2.1".parse().unwrap());
        let element = port_element(&port);
        assert_eq!(element.set, "published_at4");
        assert_eq!(element.key, "c0000201060000001f900000");
    }
}
