//! Floods: how many packets a container sends, and how many connections it begins and has.
//!
//! Why it is so: docs/decisions/ruleset.md.

use std::net::IpAddr;

use weft_kernel::nft::{BaseChain, Chain, Expression, Key, Set, SetKind, name};
use weft_store::NftRecord;

use super::key::{hex, ifname_bytes, ip_bytes, record};
use super::matching::{DROP, FIRST, begins_connection, input_name, is_in};
use super::tables::{FamilyLayout, GUARD, IPV4, IPV6, NAT, set};

/// Packets a second from a bridge port.
const PACKETS: Set = set(GUARD, "packet_rates", &[Key::IfName], SetKind::Rate);
/// New connections a second from an address.
const BEGUN4: Set = set(NAT, "begun4", &[Key::Ipv4], SetKind::Rate);
const BEGUN6: Set = set(NAT, "begun6", &[Key::Ipv6], SetKind::Rate);
/// Connections that an address has begun and that are tracked.
const HELD4: Set = set(NAT, "held4", &[Key::Ipv4], SetKind::Connections);
const HELD6: Set = set(NAT, "held6", &[Key::Ipv6], SetKind::Connections);

/// All of them.
pub(super) const SETS: [Set; 5] = [PACKETS, BEGUN4, BEGUN6, HELD4, HELD6];

/// NF_INET_PRE_ROUTING, after connections are tracked (-200).
const LIMITS: Chain = Chain {
    table: NAT,
    name: name("limits"),
    base: Some(BaseChain {
        kind: "filter",
        hook: 0,
        priority: -150,
    }),
};

/// What an endpoint may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Packets a second.
    pub packets: Option<u32>,
    /// New connections a second.
    pub new_connections: Option<u32>,
    /// Connections at once.
    pub connections: Option<u32>,
}

/// Frames beyond the rate, in the chain where they enter a bridge.
pub(super) fn frame_rule() -> Vec<Expression> {
    vec![
        input_name(FIRST),
        is_in(&PACKETS),
        Expression::Counter,
        DROP,
    ]
}

/// The `inet` table's chain with its rules.
pub(super) fn chains() -> Vec<(Chain, Vec<Vec<Expression>>)> {
    let rule = |protocol: &FamilyLayout, set: &Set| {
        let mut rule = begins_connection();
        rule.extend(protocol.is_this());
        rule.extend([
            protocol.load(protocol.source, protocol.length, FIRST),
            is_in(set),
            Expression::Counter,
            DROP,
        ]);
        rule
    };
    let rules = vec![
        rule(&IPV4, &BEGUN4),
        rule(&IPV4, &HELD4),
        rule(&IPV6, &BEGUN6),
        rule(&IPV6, &HELD6),
    ];
    vec![(LIMITS, rules)]
}

/// The elements of an endpoint's limits. A burst is a second's worth.
pub fn limit_elements(limits: Limits, port: Option<&str>, addresses: &[IpAddr]) -> Vec<NftRecord> {
    let with = |set: Set, key: &[u8], value: &[u32]| NftRecord {
        value: Some(hex(&value
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect::<Vec<u8>>())),
        ..record(set, key)
    };
    let mut records = Vec::new();
    if let (Some(rate), Some(port)) = (limits.packets, port) {
        records.push(with(PACKETS, &ifname_bytes(port), &[rate, rate]));
    }
    for ip in addresses {
        let (begun, held) = if ip.is_ipv4() {
            (BEGUN4, HELD4)
        } else {
            (BEGUN6, HELD6)
        };
        let key = ip_bytes(*ip);
        if let Some(rate) = limits.new_connections {
            records.push(with(begun, &key, &[rate, rate]));
        }
        if let Some(count) = limits.connections {
            records.push(with(held, &key, &[count]));
        }
    }
    records
}
