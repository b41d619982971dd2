//! Whose errors about a connection are believed.
//!
//! An ICMP error quotes a packet of a connection; by it the kernel takes the error for a part of that connection
//! (`ct state related`), whoever has sent it. From where containers are only an end of the connection may speak. What
//! comes from elsewhere may be of a router on the way.
//!
//! Why it is so: docs/decisions/ruleset.md.

use std::net::IpAddr;

use weft_kernel::nft::{Chain, Expression, Key, Set, SetKind, Verdict, name};
use weft_store::NftRecord;

use super::isolation::{CLOSED, INSIDE, apart_drop};
use super::key::{ifname_bytes, ip_bytes, record};
use super::matching::{
    ACCEPT, DROP, FIRST, input_name, is_about_connection, is_in, is_weft_input, output_name,
};
use super::tables::{FamilyLayout, IPV4, IPV6, NAT, set};

/// Where an address comes from, and the address of a connection that it may speak for: itself.
pub(crate) const ENDS4: Set = set(
    NAT,
    "ends4",
    &[Key::IfName, Key::Ipv4, Key::Ipv4],
    SetKind::Hash,
);
/// The same for IPv6.
pub(crate) const ENDS6: Set = set(
    NAT,
    "ends6",
    &[Key::IfName, Key::Ipv6, Key::Ipv6],
    SetKind::Hash,
);

const ERRORS: Chain = Chain {
    table: NAT,
    name: name("errors"),
    base: None,
};

/// The chain with its rules.
pub(super) fn chain() -> (Chain, Vec<Vec<Expression>>) {
    let mut rules = vec![apart_drop()];
    for family in [&IPV4, &IPV6] {
        for of_reply in [true, false] {
            rules.push(from_an_end(family, of_reply));
        }
    }
    rules.push(vec![
        input_name(FIRST),
        is_in(&CLOSED),
        Expression::Counter,
        DROP,
    ]);
    let by_name = vec![input_name(FIRST), is_in(&INSIDE)];
    let by_group = is_weft_input().map(|group| group.to_vec());
    for group in by_group.into_iter().chain([by_name]) {
        let mut rule = group;
        rule.extend([
            output_name(FIRST),
            is_in(&CLOSED),
            Expression::Counter,
            DROP,
        ]);
        rules.push(rule);
    }
    rules.push(vec![ACCEPT]);
    (ERRORS, rules)
}

/// Where a base chain hands errors on.
pub(super) fn rule() -> Vec<Expression> {
    let mut rule = is_about_connection();
    rule.push(Expression::Verdict(Verdict::Jump(ERRORS.name)));
    rule
}

fn from_an_end(family: &FamilyLayout, of_reply: bool) -> Vec<Expression> {
    let words = family.length / 4;
    let ends = match words {
        1 => ENDS4,
        _ => ENDS6,
    };
    let mut rule = family.is_this().to_vec();
    rule.extend([
        input_name(FIRST),
        family.load(family.source, family.length, FIRST + 4),
        Expression::ConnectionAddress {
            key: family.connection_source,
            of_reply,
            register: FIRST + 4 + words,
        },
        is_in(&ends),
        ACCEPT,
    ]);
    rule
}

/// That a container behind an interface may speak for the connections of its address.
pub(super) fn end_element(link: &str, address: IpAddr) -> NftRecord {
    let set = if address.is_ipv4() { ENDS4 } else { ENDS6 };
    let bytes = ip_bytes(address);
    record(set, &[ifname_bytes(link), bytes.repeat(2)].concat())
}
