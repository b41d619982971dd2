//! Tables, sets, chains and rules, as data.

use super::published;
use weft_kernel::nft::{
    BaseChain, Batch, Chain, Expression, Family, Key, Set, SetKind, Table, Verdict,
};

/// Bumped whenever the skeleton changes; kept in the tables' user data.
const SCHEMA: &[u8] = b"weft 2";

pub(super) const NAT: Table = Table {
    family: Family::Inet,
    name: "weft",
};
const GUARD: Table = Table {
    family: Family::Bridge,
    name: "weft",
};
pub(crate) const TABLES: [Table; 2] = [NAT, GUARD];

pub(super) const fn set(
    table: Table,
    name: &'static str,
    key: &'static [Key],
    kind: SetKind,
) -> Set {
    Set {
        table,
        name,
        key,
        kind,
    }
}

/// Addresses that outside sees as the host's.
pub(crate) const MASQ4: Set = set(NAT, "masq4", &[Key::Ipv4], SetKind::Hash);
pub(crate) const MASQ6: Set = set(NAT, "masq6", &[Key::Ipv6], SetKind::Hash);
/// Addresses that outside sees as another one.
pub(crate) const SNAT4: Set = set(NAT, "snat4", &[Key::Ipv4], SetKind::Map(&[Key::Ipv4]));
pub(crate) const SNAT6: Set = set(NAT, "snat6", &[Key::Ipv6], SetKind::Map(&[Key::Ipv6]));
/// Source and destination networks between which nothing is rewritten: a few per network.
pub(crate) const LOCAL4: Set = set(NAT, "local4", &[Key::Ipv4, Key::Ipv4], SetKind::Interval);
pub(crate) const LOCAL6: Set = set(NAT, "local6", &[Key::Ipv6, Key::Ipv6], SetKind::Interval);
/// Bridge ports whose frames are checked.
pub(crate) const PORTS: Set = set(GUARD, "ports", &[Key::IfName], SetKind::Hash);
/// The source MACs they may send from.
pub(crate) const PORT_MACS: Set = set(
    GUARD,
    "port_macs",
    &[Key::IfName, Key::Ether],
    SetKind::Hash,
);

/// Every set; a record names one by its name, which is unique over both tables.
pub(crate) const SETS: [Set; 18] = [
    MASQ4,
    MASQ6,
    SNAT4,
    SNAT6,
    LOCAL4,
    LOCAL6,
    PORTS,
    PORT_MACS,
    published::PUBLISHED4,
    published::PUBLISHED6,
    published::PUBLISHED_AT4,
    published::PUBLISHED_AT6,
    published::HAIRPIN4,
    published::HAIRPIN6,
    published::REFLECTED4,
    published::REFLECTED6,
    published::HIDDEN4,
    published::HIDDEN6,
];

/// NF_INET_POST_ROUTING; five before srcnat (100), so that Weft decides before host-wide rules.
const NAT_POST: Chain = Chain {
    table: NAT,
    name: "nat_post",
    base: Some(BaseChain {
        kind: "nat",
        hook: 4,
        priority: 95,
    }),
};
/// NF_BR_PRE_ROUTING, where the reference's spoof check stands too.
const BRIDGE_GUARD: Chain = Chain {
    table: GUARD,
    name: "guard",
    base: Some(BaseChain {
        kind: "filter",
        hook: 0,
        priority: -300,
    }),
};

pub(super) const META_IIFNAME: u32 = 6;
const META_NFPROTO: u32 = 15;
const LINK_LAYER: u32 = 0;
const NETWORK_LAYER: u32 = 1;
/// NFT_REG32_00; sixteen bytes from here are NFT_REG_1.
pub(super) const FIRST: u32 = 8;

/// What differs between the families.
pub(super) struct Protocol {
    pub(super) number: u8,
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) length: u32,
    multicast: &'static [u8],
    multicast_mask: &'static [u8],
    local: &'static str,
    snat: &'static str,
    masq: &'static str,
}

pub(super) const IPV4: Protocol = Protocol {
    number: 2,
    source: 12,
    destination: 16,
    length: 4,
    multicast: &[224, 0, 0, 0],
    multicast_mask: &[0xf0, 0, 0, 0],
    local: LOCAL4.name,
    snat: SNAT4.name,
    masq: MASQ4.name,
};
pub(super) const IPV6: Protocol = Protocol {
    number: 10,
    source: 8,
    destination: 24,
    length: 16,
    multicast: &[0xff],
    multicast_mask: &[0xff],
    local: LOCAL6.name,
    snat: SNAT6.name,
    masq: MASQ6.name,
};

impl Protocol {
    pub(super) fn is_this(&self) -> [Expression; 2] {
        [
            Expression::Meta {
                key: META_NFPROTO,
                register: FIRST,
            },
            Expression::Compare {
                register: FIRST,
                negated: false,
                value: vec![self.number],
            },
        ]
    }

    pub(super) fn load(&self, offset: u32, length: u32, register: u32) -> Expression {
        Expression::Payload {
            base: NETWORK_LAYER,
            offset,
            length,
            register,
        }
    }

    fn multicast_length(&self) -> u32 {
        if self.multicast.len() == 4 { 4 } else { 1 }
    }

    pub(super) fn lookup(&self, set: &'static str, value_register: Option<u32>) -> Expression {
        Expression::Lookup {
            set,
            register: FIRST,
            value_register,
            negated: false,
        }
    }

    /// Nothing is rewritten within a network and to what it excludes, nor to multicast groups;
    /// then a fixed source address if there is one, else the outgoing interface's.
    fn rules(&self) -> [Vec<Expression>; 4] {
        let source = self.load(self.source, self.length, FIRST);
        let rule = |rest: Vec<Expression>| self.is_this().into_iter().chain(rest).collect();
        [
            rule(vec![
                source.clone(),
                self.load(self.destination, self.length, FIRST + self.length / 4),
                self.lookup(self.local, None),
                Expression::Verdict(Verdict::Return),
            ]),
            rule(vec![
                self.load(self.destination, self.multicast_length(), FIRST),
                Expression::Mask {
                    register: FIRST,
                    mask: self.multicast_mask.to_vec(),
                },
                Expression::Compare {
                    register: FIRST,
                    negated: false,
                    value: self.multicast.to_vec(),
                },
                Expression::Verdict(Verdict::Return),
            ]),
            rule(vec![
                source.clone(),
                self.lookup(self.snat, Some(FIRST)),
                Expression::SourceNat {
                    protocol: u32::from(self.number),
                    register: FIRST,
                },
            ]),
            rule(vec![
                source,
                self.lookup(self.masq, None),
                Expression::Masquerade,
            ]),
        ]
    }
}

/// Frames from a guarded port whose source MAC is not the port's are counted and dropped.
fn guard_rules() -> [Vec<Expression>; 3] {
    let port = Expression::Meta {
        key: META_IIFNAME,
        register: FIRST,
    };
    let lookup = |set: &'static str, negated| Expression::Lookup {
        set,
        register: FIRST,
        value_register: None,
        negated,
    };
    let mac = Expression::Payload {
        base: LINK_LAYER,
        offset: 6,
        length: 6,
        register: FIRST + 4,
    };
    [
        vec![
            port.clone(),
            lookup(PORTS.name, true),
            Expression::Verdict(Verdict::Accept),
        ],
        vec![
            port,
            mac,
            lookup(PORT_MACS.name, false),
            Expression::Verdict(Verdict::Accept),
        ],
        vec![Expression::Counter, Expression::Verdict(Verdict::Drop)],
    ]
}

/// One table with everything in it. It fails with EEXIST where there is one already.
pub(super) fn create(table: &Table, batch: &mut Batch) {
    table.create(SCHEMA, batch);
    for (id, set) in (1..).zip(SETS.into_iter().filter(|set| set.table == *table)) {
        set.create(id, batch);
    }
    let chains = if *table == NAT {
        let mut after: Vec<Vec<Expression>> = published::postrouting_rules();
        after.extend(IPV4.rules().into_iter().chain(IPV6.rules()));
        let mut chains = published::chains();
        chains.push((NAT_POST, after));
        chains
    } else {
        vec![(BRIDGE_GUARD, guard_rules().to_vec())]
    };
    // All of them before the rules, which may jump.
    for (chain, _) in &chains {
        chain.create(batch);
    }
    for (chain, rules) in &chains {
        for rule in rules {
            chain.append(rule, batch);
        }
    }
}
