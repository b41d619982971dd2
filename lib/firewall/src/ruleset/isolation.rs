//! Which new connections pass between networks: chains per mode, elements per network.
//!
//! A packet to or from a network that is closed passes the chain of the network's mode, which
//! accepts or drops it. What answers is let through before; what the host itself sends is not
//! looked at. `accept` ends Weft's own chains only: other people's rules still decide.
//!
//! Why it is so: docs/decisions/ruleset.md.

use std::net::IpAddr;

use weft_cni::{IpFamily, Mac};
use weft_kernel::nft::{BaseChain, Chain, Expression, Key, Set, SetKind, Verdict, name};
use weft_store::{Isolation, NftRecord};

use super::errors::{self, ENDS4, ENDS6};
use super::key::{hex, ifname_bytes, ip_bytes, record};
use super::led::{self, LED};
use super::matching::{
    ACCEPT, DROP, FIRST, came_by_ethernet, destination_port, input_name, is, is_closed_group,
    is_in, is_known_connection, is_not, jump_by, l4_protocol, link_layer, output_name,
    transport_layer, was_translated,
};
use super::tables::{FamilyLayout, IPV4, IPV6, NAT, set};

/// The interfaces of networks that are not open, with the chain of their mode.
pub(super) const NETWORKS: Set = set(NAT, "networks", &[Key::IfName], SetKind::Verdicts);
/// The same interfaces.
pub const CLOSED: Set = set(NAT, "closed", &[Key::IfName], SetKind::Hash);
/// From one of them to another, or to itself, where that is open.
pub const CONNECTED: Set = set(NAT, "connected", &[Key::IfName, Key::IfName], SetKind::Hash);
/// Containers' ports that a port of the host leads to.
pub(super) const OPENED4: Set = set(
    NAT,
    "opened4",
    &[Key::Ipv4, Key::Protocol, Key::Service],
    SetKind::Hash,
);
pub(super) const OPENED6: Set = set(
    NAT,
    "opened6",
    &[Key::Ipv6, Key::Protocol, Key::Service],
    SetKind::Hash,
);

/// Addresses that rules or modes mean.
pub const KNOWN4: Set = set(NAT, "known4", &[Key::Ipv4], SetKind::Hash);
/// The same for IPv6.
pub const KNOWN6: Set = set(NAT, "known6", &[Key::Ipv6], SetKind::Hash);
/// The interface that each of those addresses comes by.
pub const HOME4: Set = set(NAT, "home4", &[Key::IfName, Key::Ipv4], SetKind::Hash);
/// The same for IPv6.
pub const HOME6: Set = set(NAT, "home6", &[Key::IfName, Key::Ipv6], SetKind::Hash);

/// From an interface to itself, by the MACs at which the host takes in what is to be routed: a frame that is bridged
/// has another one, and passes here too with br_netfilter.
const APART: Set = set(
    NAT,
    "apart",
    &[Key::IfName, Key::IfName, Key::Ether],
    SetKind::Hash,
);

/// MACs at which the host takes in what is to be routed, by the interface.
const ROUTED: Set = set(NAT, "routed", &[Key::IfName, Key::Ether], SetKind::Hash);

/// Interfaces that containers are behind and that the administrator has in a group of his own.
pub const INSIDE: Set = set(NAT, "inside", &[Key::IfName], SetKind::Hash);

/// Interfaces of closed networks; each counts the packets that its mode has not let through.
pub const REFUSED: Set = set(NAT, "refused", &[Key::IfName], SetKind::Counted);

/// The digest of the rules in force: as long as an interface's name.
pub const IN_FORCE: Set = set(NAT, "in_force", &[Key::IfName], SetKind::Hash);

/// All of them.
pub(super) const SETS: [Set; 17] = [
    NETWORKS, CLOSED, CONNECTED, OPENED4, OPENED6, KNOWN4, KNOWN6, HOME4, HOME6, ENDS4, ENDS6,
    IN_FORCE, APART, ROUTED, INSIDE, REFUSED, LED,
];

/// Five before filter (0), so that Weft decides before host-wide rules.
const FILTER: i32 = -5;

const fn base(text: &'static str, hook: u32) -> Chain {
    Chain {
        table: NAT,
        name: name(text),
        base: Some(BaseChain {
            kind: "filter",
            hook,
            priority: FILTER,
        }),
    }
}

const fn chain(text: &'static str) -> Chain {
    Chain {
        table: NAT,
        name: name(text),
        base: None,
    }
}

/// NF_INET_LOCAL_IN, NF_INET_FORWARD and NF_INET_LOCAL_OUT.
const INPUT: Chain = base("input", 1);
const FORWARD: Chain = base("forward", 2);
const OUTPUT: Chain = base("output", 3);
/// The administrator's: Weft puts nothing into it and takes nothing out of it.
pub const USER_PRE: Chain = chain("user_pre");
/// What is open in every closed network: published ports, and what policies allow.
const ADMITTED: Chain = chain("admitted");
/// What policies allow.
pub const POLICY: Chain = chain("policies");
const FULL: Chain = chain("mode_full");
const PEER: Chain = chain("mode_peer");
const MODE_APART: Chain = chain("mode_apart");
const ANSWERS: Chain = chain("answers");
/// The end of what no mode has let through.
const REFUSE: Chain = chain("refuse");

fn jump(chain: &Chain) -> Expression {
    Expression::Verdict(Verdict::Jump(chain.name.clone()))
}

/// The chains with their rules.
pub(crate) fn chains() -> Vec<(Chain, Vec<Vec<Expression>>)> {
    let connected = || {
        vec![
            input_name(FIRST),
            output_name(FIRST + 4),
            is_in(&CONNECTED),
            ACCEPT,
        ]
    };
    let known = || {
        let mut rule = is_known_connection();
        rule.push(jump(&ANSWERS));
        rule
    };
    vec![
        (FORWARD, forward_rules(known())),
        (INPUT, input_rules(known())),
        (OUTPUT, redirects()),
        (USER_PRE, Vec::new()),
        (ADMITTED, admitted_rules()),
        (POLICY, Vec::new()),
        (FULL, vec![vec![jump(&ADMITTED)], vec![jump(&REFUSE)]]),
        (
            PEER,
            [
                apart_peers(&connected()),
                vec![connected(), vec![jump(&ADMITTED)], vec![jump(&REFUSE)]],
            ]
            .concat(),
        ),
        (MODE_APART, apart_rules(connected())),
        errors::chain(),
        (ANSWERS, answer_rules()),
        (REFUSE, refuse_rules()),
    ]
}

fn forward_rules(known: Vec<Expression>) -> Vec<Vec<Expression>> {
    let mut rules = vec![led::pass(), known, errors::rule()];
    rules.extend([from_a_stranger(&IPV4), from_a_stranger(&IPV6)].map(not_into_closed));
    rules.extend(untranslatable(&IPV4));
    rules.extend(untranslatable(&IPV6));
    rules.extend([
        vec![jump(&USER_PRE)],
        vec![output_name(FIRST), jump_by(&NETWORKS)],
        vec![input_name(FIRST), jump_by(&NETWORKS)],
        closed(output_name(FIRST)),
        closed(input_name(FIRST)),
    ]);
    rules.extend(is_closed_group().map(nameless));
    rules
}

/// What comes by the interface of a closed network from an address that is none of its containers'. Addresses that are
/// not routed (0.0.0.0, ::, fe80::/10) are nobody's and everybody's.
fn from_a_stranger(family: &FamilyLayout) -> Vec<Expression> {
    let source = |register| family.load(family.source, family.length, register);
    let mut rule = vec![input_name(FIRST), is_in(&CLOSED)];
    rule.extend(family.is_this());
    let (home, unrouted): (&Set, [u8; 2]) = match family.family {
        IpFamily::V4 => (&HOME4, [0, 0]),
        IpFamily::V6 => (&HOME6, [0xfe, 0x80]),
    };
    rule.extend([
        source(FIRST),
        is_not(&vec![0; usize::try_from(family.length).unwrap_or_default()]),
    ]);
    if family.family == IpFamily::V6 {
        rule.extend([
            family.load(family.source, 2, FIRST),
            Expression::Mask {
                register: FIRST,
                mask: vec![0xff, 0xc0],
            },
            is_not(&unrouted),
        ]);
    }
    rule.extend([
        input_name(FIRST),
        source(FIRST + 4),
        super::matching::is_not_in(home),
    ]);
    rule
}

/// A stranger's packet is routed into no closed network: answers to it would be those of a tracked connection, which the
/// containers there may not begin. What is bridged (br_netfilter) was not sent to be routed.
fn not_into_closed(stranger: Vec<Expression>) -> Vec<Expression> {
    let mut rule = came_by_ethernet().to_vec();
    rule.extend([
        output_name(FIRST),
        is_in(&CLOSED),
        input_name(FIRST),
        link_layer(0, 6, FIRST + 4),
        is_in(&ROUTED),
    ]);
    rule.extend(stranger);
    rule.extend([Expression::Counter, DROP]);
    rule
}

/// Packets of tracked connections pass, but not what only pretends to be one: from a closed network each is from its own
/// container's address.
fn answer_rules() -> Vec<Vec<Expression>> {
    let back = |family| {
        let mut rule = from_a_stranger(family);
        rule.push(Expression::Verdict(Verdict::Return));
        rule
    };
    vec![back(&IPV4), back(&IPV6), vec![ACCEPT]]
}

/// Drops, and counts for the network that the packet was to, if that is closed, else for the one that it is from.
fn refuse_rules() -> Vec<Vec<Expression>> {
    vec![
        vec![output_name(FIRST), is_in(&REFUSED)],
        vec![
            output_name(FIRST),
            super::matching::is_not_in(&REFUSED),
            input_name(FIRST),
            is_in(&REFUSED),
        ],
        vec![Expression::Counter, DROP],
    ]
}

/// A closed network that has no mode. The kernel takes the elements of a map out of force the moment that it takes the
/// map's table away, while packets still pass its rules; those of a plain set it does not.
fn closed(interface: Expression) -> Vec<Expression> {
    vec![interface, is_in(&CLOSED), Expression::Counter, DROP]
}

/// An interface of a closed network that has another name than it had.
fn nameless(group: [Expression; 2]) -> Vec<Expression> {
    let mut rule = group.to_vec();
    rule.extend([Expression::Counter, DROP]);
    rule
}

/// A packet that is of no connection is not translated: from an address that outside sees as another one it goes
/// nowhere but where the container's own address may be seen.
fn untranslatable(protocol: &FamilyLayout) -> [Vec<Expression>; 2] {
    let source = || protocol.load(protocol.source, protocol.length, FIRST);
    let rule = |lookup: Expression| {
        let mut rule = super::matching::is_invalid();
        rule.extend(protocol.is_this());
        rule.extend([source(), lookup]);
        rule.extend([
            source(),
            protocol.load(
                protocol.destination,
                protocol.length,
                FIRST + protocol.length / 4,
            ),
            Expression::Lookup {
                set: protocol.local.name.clone(),
                register: FIRST,
                value_register: None,
                negated: true,
            },
            Expression::Counter,
            DROP,
        ]);
        rule
    };
    [
        rule(protocol.lookup(&protocol.masq, None)),
        rule(protocol.lookup(&protocol.snat, Some(FIRST))),
    ]
}

/// What the host answers: neighbours' questions, and names. Everything else is none of the
/// containers' business.
fn input_rules(known: Vec<Expression>) -> Vec<Vec<Expression>> {
    const DNS: u16 = 53;
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const ICMPV6: u8 = 58;
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    let discovery = |number: u8| {
        vec![
            l4_protocol(FIRST),
            is(&[ICMPV6]),
            transport_layer(0, 1, FIRST),
            is(&[number]),
            ACCEPT,
        ]
    };
    let [by_closed_group, _] = is_closed_group();
    let names = |protocol: u8| {
        vec![
            l4_protocol(FIRST),
            is(&[protocol]),
            destination_port(FIRST),
            is(&DNS.to_be_bytes()),
            ACCEPT,
        ]
    };
    vec![
        known,
        errors::rule(),
        vec![input_name(FIRST), is_in(&CLOSED), jump(&USER_PRE)],
        discovery(SOLICITATION),
        discovery(ADVERTISEMENT),
        names(UDP),
        names(TCP),
        vec![input_name(FIRST), jump_by(&NETWORKS)],
        closed(input_name(FIRST)),
        nameless(by_closed_group),
    ]
}

/// The host would tell containers of one interface to do without it (RFC 792, RFC 4861): they must
/// not.
fn redirects() -> Vec<Vec<Expression>> {
    const ICMP: (u8, u8) = (1, 5);
    const ICMPV6: (u8, u8) = (58, 137);
    [ICMP, ICMPV6]
        .into_iter()
        .map(|(protocol, number)| {
            vec![
                output_name(FIRST),
                is_in(&CLOSED),
                l4_protocol(FIRST),
                is(&[protocol]),
                transport_layer(0, 1, FIRST),
                is(&[number]),
                DROP,
            ]
        })
        .collect()
}

fn admitted_rules() -> Vec<Vec<Expression>> {
    let published = |protocol: &FamilyLayout, opened: &Set| {
        let words = protocol.length / 4;
        let mut rule = was_translated();
        rule.extend(protocol.is_this());
        rule.extend([
            protocol.load(protocol.destination, protocol.length, FIRST),
            l4_protocol(FIRST + words),
            destination_port(FIRST + words + 1),
            is_in(opened),
            ACCEPT,
        ]);
        rule
    };
    vec![
        published(&IPV4, &OPENED4),
        published(&IPV6, &OPENED6),
        stranger(&IPV4, (&KNOWN4, &HOME4)),
        stranger(&IPV6, (&KNOWN6, &HOME6)),
        vec![jump(&POLICY)],
    ]
}

/// Rules are by address: a packet that comes by another interface than its address's owner's has a
/// forged source.
fn stranger(protocol: &FamilyLayout, (known, home): (&Set, &Set)) -> Vec<Expression> {
    let source = |register| protocol.load(protocol.source, protocol.length, register);
    let mut rule = protocol.is_this().to_vec();
    rule.extend([
        source(FIRST),
        is_in(known),
        input_name(FIRST),
        source(FIRST + 4),
        super::matching::is_not_in(home),
        Expression::Counter,
        DROP,
    ]);
    rule
}

/// That the host takes in what is to be routed by an interface at this MAC: the gateway's, or that of the host's end of
/// a container's own pair.
pub fn routed_element(link: &str, mac: Mac) -> NftRecord {
    record(
        ROUTED,
        &[ifname_bytes(link).as_slice(), &mac.0, &[0, 0]].concat(),
    )
}

/// That containers are behind an interface, where its group does not say so.
pub fn inside_element(link: &str) -> NftRecord {
    record(INSIDE, &ifname_bytes(link))
}

/// Where an address comes from.
pub fn home_elements(link: &str, address: IpAddr) -> [NftRecord; 3] {
    let (known, home) = if address.is_ipv4() {
        (KNOWN4, HOME4)
    } else {
        (KNOWN6, HOME6)
    };
    let bytes = ip_bytes(address);
    [
        errors::end_element(link, address),
        record(known, &bytes),
        record(home, &[ifname_bytes(link), bytes].concat()),
    ]
}

/// Between closed networks nothing passes, nor between isolated peers; outside is open.
fn apart_rules(connected: Vec<Expression>) -> Vec<Vec<Expression>> {
    let between = vec![
        input_name(FIRST),
        is_in(&CLOSED),
        output_name(FIRST),
        is_in(&CLOSED),
        jump(&REFUSE),
    ];
    let mut rules = apart_peers(&connected);
    rules.extend([connected, vec![jump(&ADMITTED)], between, vec![ACCEPT]]);
    rules
}

/// Peers that are to be apart reach each other's published ports, and no more.
fn apart_peers(connected: &[Expression]) -> Vec<Vec<Expression>> {
    let mut translated = was_translated();
    translated.extend(connected.iter().cloned());
    vec![translated, apart_drop()]
}

/// What peers that are to be apart send each other by way of the gateway. By interfaces, not by addresses, which they
/// give themselves, and not by what is tracked: a packet may be of no connection.
pub(super) fn apart_drop() -> Vec<Expression> {
    let mut rule = came_by_ethernet().to_vec();
    rule.extend([
        input_name(FIRST),
        output_name(FIRST + 4),
        link_layer(0, 6, FIRST + 8),
        is_in(&APART),
        Expression::Counter,
        DROP,
    ]);
    rule
}

/// That containers behind an interface, whose host takes in at this MAC what is to be routed, reach no peers by way of
/// it. The MAC is the gateway's, or that of the host's end of a container's own pair.
pub fn apart_element(link: &str, mac: Mac) -> NftRecord {
    let name = ifname_bytes(link);
    record(APART, &[name.as_slice(), &name, &mac.0, &[0, 0]].concat())
}

/// The elements of a network: its interface on the host, and that its containers reach each other.
pub fn network_elements(link: &str, isolation: Isolation) -> Vec<NftRecord> {
    let chain = match isolation {
        Isolation::None => return Vec::new(),
        Isolation::Full => FULL,
        Isolation::Peer | Isolation::Mesh => PEER,
        Isolation::Apart => MODE_APART,
    };
    let name = ifname_bytes(link);
    let mut records = vec![
        NftRecord {
            value: Some(hex(chain.name.as_bytes())),
            ..record(NETWORKS, &name)
        },
        record(CLOSED, &name),
        record(REFUSED, &name),
    ];
    if isolation != Isolation::Full {
        records.push(connection(link, link));
    }
    records
}

/// How closed the network behind an interface is, if an element says so, as far as the kernel knows: `mesh`
/// looks like `peer`.
pub fn mode_of(link: &str, element: &NftRecord) -> Option<Isolation> {
    let is_this = |chain: &Chain| element.value == Some(hex(chain.name.as_bytes()));
    if element.set != NETWORKS.name || element.key != record(NETWORKS, &ifname_bytes(link)).key {
        return None;
    }
    [(FULL, Isolation::Full), (PEER, Isolation::Peer)]
        .into_iter()
        .find_map(|(chain, mode)| is_this(&chain).then_some(mode))
}

/// Whether an element is one that closes a network.
pub fn is_isolation(element: &NftRecord) -> bool {
    [NETWORKS, CLOSED, CONNECTED, APART, ROUTED, REFUSED]
        .iter()
        .any(|set| set.name == element.set)
}

/// That one network's containers reach another's.
pub fn connection(from: &str, to: &str) -> NftRecord {
    record(CONNECTED, &[ifname_bytes(from), ifname_bytes(to)].concat())
}
