//! Frames with a forged source: only the port itself sends from its MAC, IPv4 and IPv6 addresses.
//!
//! The checks stand where frames enter the bridge, before anybody has learnt anything from them: the
//! bridge its forwarding table, the host and the other containers the addresses of neighbours. Frames to the
//! addresses that are reserved for bridges do not pass there: the bridge is told to learn nothing from
//! them, and what they carry is dropped where it enters the host (`published`).
//!
//! Why it is so: docs/decisions/ruleset.md.

use std::net::{IpAddr, Ipv6Addr};

use weft_cni::Mac;
use weft_kernel::nft::{BaseChain, Chain, Expression, Key, Set, SetKind, Verdict, name};
use weft_store::{AttachmentRecord, NftRecord};

use super::key::{ifname_bytes, ip_bytes, record};
use super::led::{ONWARD, is_onward};
use super::matching::{
    ACCEPT, DROP, FIRST, destination_port, ether_type, input_name, is, is_in, is_not_in,
    is_unicast, l4_protocol, link_layer, network_layer, output_name, transport_layer,
};
use super::tables::{GUARD, set};

/// Bridge ports whose frames are checked; each counts those that were dropped.
pub const PORTS: Set = set(GUARD, "ports", &[Key::IfName], SetKind::Counted);
/// The source MACs they may send from.
pub(super) const PORT_MACS: Set = set(
    GUARD,
    "port_macs",
    &[Key::IfName, Key::Ether],
    SetKind::Hash,
);
/// Ports whose addresses are checked too.
pub(super) const BOUND: Set = set(GUARD, "bound_ports", &[Key::IfName], SetKind::Hash);
/// The IPv4 addresses that they may send from.
pub(super) const PORT_IPV4: Set = set(GUARD, "port_ipv4", &[Key::IfName, Key::Ipv4], SetKind::Hash);
/// The MAC and IPv4 address that they may claim by ARP.
pub(super) const PORT_ARP: Set = set(
    GUARD,
    "port_arp",
    &[Key::IfName, Key::Ether, Key::Ipv4],
    SetKind::Hash,
);
/// The IPv6 addresses that they may send from, and claim by neighbour discovery.
pub(super) const PORT_IPV6: Set = set(GUARD, "port_ipv6", &[Key::IfName, Key::Ipv6], SetKind::Hash);

/// Ports that pass no frames to each other: everything between them has to pass the host.
pub const ALONE: Set = set(GUARD, "alone_ports", &[Key::IfName], SetKind::Hash);
/// Such a port and itself: by its published port a container asks itself.
pub(super) const MIRRORED: Set = set(
    GUARD,
    "mirrored_ports",
    &[Key::IfName, Key::IfName],
    SetKind::Hash,
);
/// Ports whose containers have their addresses alone: whatever they send to one receiver is for their gateway.
pub(super) const ROUTED: Set = set(GUARD, "routed_ports", &[Key::IfName], SetKind::Hash);
/// Such a port and its gateway's MAC.
pub(super) const GATEWAYS: Set = set(
    GUARD,
    "port_gateways",
    &[Key::IfName, Key::Ether],
    SetKind::Hash,
);
/// Containers' ports that a port of the host leads to, by the bridge port that has the container.
pub(super) const REACHED4: Set = set(
    GUARD,
    "reached_by4",
    &[Key::IfName, Key::Ipv4, Key::Protocol, Key::Service],
    SetKind::Hash,
);
pub(super) const REACHED6: Set = set(
    GUARD,
    "reached_by6",
    &[Key::IfName, Key::Ipv6, Key::Protocol, Key::Service],
    SetKind::Hash,
);

/// All of them.
pub(super) const SETS: [Set; 13] = [
    PORTS, PORT_MACS, BOUND, PORT_IPV4, PORT_ARP, PORT_IPV6, ALONE, MIRRORED, ROUTED, GATEWAYS,
    REACHED4, REACHED6, ONWARD,
];

const fn chain(text: &'static str) -> Chain {
    Chain {
        table: GUARD,
        name: name(text),
        base: None,
    }
}

/// NF_BR_PRE_ROUTING, where the reference's spoof check stands too.
const BRIDGE_GUARD: Chain = Chain {
    table: GUARD,
    name: name("guard"),
    base: Some(BaseChain {
        kind: "filter",
        hook: 0,
        priority: -300,
    }),
};
/// NF_BR_FORWARD: from port to port.
const BETWEEN: Chain = Chain {
    table: GUARD,
    name: name("between"),
    base: Some(BaseChain {
        kind: "filter",
        hook: 2,
        priority: -300,
    }),
};
/// NF_BR_LOCAL_OUT: what the bridge itself sends.
const FROM_HOST: Chain = Chain {
    table: GUARD,
    name: name("from_host"),
    base: Some(BaseChain {
        kind: "filter",
        hook: 3,
        priority: -300,
    }),
};
const DENY: Chain = chain("deny");
const ADDRESSES: Chain = chain("addresses");
const ADDRESSES6: Chain = chain("addresses6");

/// The table's chains with their rules.
pub(super) fn chains() -> Vec<(Chain, Vec<Vec<Expression>>)> {
    vec![
        (BRIDGE_GUARD, guard_rules()),
        (BETWEEN, between_rules()),
        (FROM_HOST, vec![from_another_than_the_gateway()]),
        (ADDRESSES, address_rules()),
        (ADDRESSES6, ipv6_rules()),
        (DENY, vec![vec![input_name(FIRST), is_in(&PORTS), DROP]]),
    ]
}

fn deny() -> Expression {
    Expression::Verdict(Verdict::Jump(DENY.name))
}

/// The port, then something else of the frame.
fn port_and(rest: impl IntoIterator<Item = Expression>) -> Vec<Expression> {
    std::iter::once(input_name(FIRST)).chain(rest).collect()
}

/// After the name's sixteen bytes.
const SECOND: u32 = FIRST + 4;

fn guard_rules() -> Vec<Vec<Expression>> {
    vec![
        super::limits::frame_rule(),
        past_the_gateway(),
        port_and([is_not_in(&PORTS), ACCEPT]),
        port_and([link_layer(6, 6, SECOND), is_not_in(&PORT_MACS), deny()]),
        port_and([
            is_in(&BOUND),
            Expression::Verdict(Verdict::Jump(ADDRESSES.name)),
        ]),
    ]
}

/// Where everything is to be routed, what is for one receiver is for the gateway.
fn past_the_gateway() -> Vec<Expression> {
    let mut rule = is_unicast().to_vec();
    rule.extend(port_and([is_in(&ROUTED)]));
    rule.extend(port_and([
        link_layer(0, 6, SECOND),
        is_not_in(&GATEWAYS),
        Expression::Counter,
        DROP,
    ]));
    rule
}

/// Other interfaces on the bridge send as the host does: a container that can make one there, by the number that the
/// kernel gives it for the host's namespace (`link-netnsid`), must not reach its neighbours by it.
fn from_another_than_the_gateway() -> Vec<Expression> {
    vec![
        output_name(FIRST),
        is_in(&ROUTED),
        output_name(FIRST),
        link_layer(6, 6, SECOND),
        is_not_in(&GATEWAYS),
        Expression::Counter,
        DROP,
    ]
}

/// The kernel's own port isolation would do, were it not for br_netfilter: with it, a packet whose destination is
/// rewritten to a container of the same bridge, by Weft's published ports or by services of another program, is not
/// routed but bridged. What a routed port sends to one receiver was for the gateway where it came in, so only such a
/// packet can be here, and the `inet` table, which sees it next, judges it as it judges what is routed.
fn between_rules() -> Vec<Vec<Expression>> {
    // To one receiver: a broadcast would pass by the host's judgement.
    let reached = |ether: &[u8], destination: Expression, words: u32, set: &Set| {
        let mut rule = is_unicast().to_vec();
        rule.extend([
            ether_type(FIRST),
            is(ether),
            output_name(FIRST),
            destination,
            l4_protocol(SECOND + words),
            destination_port(SECOND + words + 1),
            is_in(set),
            ACCEPT,
        ]);
        rule
    };
    // Not broadcasts: it would hear its own questions.
    let mut to_itself = is_unicast().to_vec();
    to_itself.extend(port_and([output_name(SECOND), is_in(&MIRRORED), ACCEPT]));
    let mut rewritten = is_unicast().to_vec();
    rewritten.extend(port_and([is_in(&ROUTED), ACCEPT]));
    vec![
        port_and([is_not_in(&ALONE), ACCEPT]),
        vec![output_name(FIRST), is_not_in(&ALONE), ACCEPT],
        to_itself,
        rewritten,
        reached(&IPV4, network_layer(16, 4, SECOND), 1, &REACHED4),
        reached(&IPV6, network_layer(24, 16, SECOND), 4, &REACHED6),
        vec![Expression::Counter, DROP],
    ]
}

/// ETH_P_IP.
const IPV4: [u8; 2] = [0x08, 0x00];
/// ETH_P_IPV6.
const IPV6: [u8; 2] = [0x86, 0xdd];

/// What is neither IPv4 nor IPv6 nor ARP could carry anything, a second tag for example.
fn address_rules() -> Vec<Vec<Expression>> {
    const ARP: [u8; 2] = [0x08, 0x06];
    let of_type = |number: &[u8], rest: Vec<Expression>| {
        let mut rule = vec![ether_type(FIRST), is(number)];
        rule.extend(rest);
        rule
    };
    vec![
        of_type(
            &IPV4,
            port_and([network_layer(12, 4, SECOND), is_in(&PORT_IPV4), ACCEPT]),
        ),
        of_type(&IPV4, onward()),
        of_type(
            &ARP,
            port_and([
                network_layer(8, 6, SECOND),
                network_layer(14, 4, SECOND + 2),
                is_in(&PORT_ARP),
                ACCEPT,
            ]),
        ),
        of_type(
            &IPV6,
            vec![Expression::Verdict(Verdict::Jump(ADDRESSES6.name))],
        ),
        vec![deny()],
    ]
}

/// What a gateway passes on to a container that it leads.
fn onward() -> Vec<Expression> {
    let mut rule = is_onward().to_vec();
    rule.push(ACCEPT);
    rule
}

/// RFC 4861: containers are no routers; what they advertise is their own address. Without an address yet
/// they may ask whether a neighbour has it (RFC 4862) if it is theirs, and join groups (RFC 3810).
fn ipv6_rules() -> Vec<Vec<Expression>> {
    const ICMPV6: u8 = 58;
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    const ROUTER_ADVERTISEMENT: u8 = 134;
    const REDIRECT: u8 = 137;
    const LISTENER_REPORT: u8 = 143;
    // Said once more: without it `nft` does not know what it is that follows.
    let ipv6 = |rest: Vec<Expression>| {
        let mut rule = vec![ether_type(FIRST), is(&IPV6)];
        rule.extend(rest);
        rule
    };
    let of_type = |number: u8, rest: Vec<Expression>| {
        let mut rule = ipv6(vec![l4_protocol(FIRST), is(&[ICMPV6])]);
        rule.extend([transport_layer(0, 1, FIRST), is(&[number])]);
        rule.extend(rest);
        rule
    };
    let source = || network_layer(8, 16, SECOND);
    let without_address = |number, also: Vec<Expression>| {
        let unspecified = Ipv6Addr::UNSPECIFIED.octets();
        let mut rest = vec![network_layer(8, 16, FIRST), is(&unspecified)];
        rest.extend(also);
        rest.push(ACCEPT);
        of_type(number, rest)
    };
    let target = || transport_layer(8, 16, SECOND);
    let claimed = port_and([target(), is_not_in(&PORT_IPV6), deny()]);
    let its_own = port_and([target(), is_in(&PORT_IPV6)]);
    vec![
        of_type(ROUTER_ADVERTISEMENT, vec![deny()]),
        of_type(REDIRECT, vec![deny()]),
        of_type(ADVERTISEMENT, claimed),
        ipv6(onward()),
        without_address(SOLICITATION, its_own),
        without_address(LISTENER_REPORT, Vec::new()),
        ipv6(port_and([source(), is_in(&PORT_IPV6), ACCEPT])),
        vec![deny()],
    ]
}

/// A port whose frames are checked, as elements. Without `addresses` only their MAC is.
pub(super) fn port_elements(port: &str, mac: Mac, addresses: Option<&[IpAddr]>) -> Vec<NftRecord> {
    let name = ifname_bytes(port);
    let with = |rest: &[u8]| [name.as_slice(), rest].concat();
    let hardware = [mac.0.as_slice(), &[0, 0]].concat();
    let mut records = vec![record(PORTS, &name), record(PORT_MACS, &with(&hardware))];
    let Some(addresses) = addresses else {
        return records;
    };
    records.push(record(BOUND, &name));
    for ip in addresses {
        let bytes = ip_bytes(*ip);
        match ip {
            IpAddr::V4(_) => {
                records.push(record(PORT_IPV4, &with(&bytes)));
                records.push(record(PORT_ARP, &with(&[hardware.clone(), bytes].concat())));
            }
            IpAddr::V6(_) => records.push(record(PORT_IPV6, &with(&bytes))),
        }
    }
    if addresses.iter().any(IpAddr::is_ipv6) {
        records.push(record(PORT_IPV6, &with(&link_local(mac).octets())));
    }
    records
}

/// Whether the frames of an attachment's port are checked.
pub fn is_guarded(record: &AttachmentRecord) -> bool {
    record.nft.iter().any(|one| one.set == PORTS.name)
}

/// A port that passes no frames to others like it.
pub fn alone_elements(port: &str) -> [NftRecord; 2] {
    let name = ifname_bytes(port);
    [record(ALONE, &name), record(MIRRORED, &name.repeat(2))]
}

/// A port that sends to its gateway only.
pub fn routed_elements(port: &str, gateway: Mac) -> [NftRecord; 2] {
    let name = ifname_bytes(port);
    let pair = [name.as_slice(), &gateway.0, &[0, 0]].concat();
    [record(ROUTED, &name), record(GATEWAYS, &pair)]
}

/// RFC 4291, appendix A: the address that an interface gives itself.
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}
