//! Tables, sets, chains and rules, as data.

use weft_kernel::nft::{
    BaseChain, Batch, Chain, Expression, Family, Key, Set, SetKind, Table, Verdict,
};

use super::matching::{FIRST, is, network_layer};
use super::{guard, isolation, limits, published};

/// Bumped whenever the skeleton changes; kept in the tables' user data, for whoever looks at them. Tables of
/// an older one stay until `weft firewall reload`.
const SCHEMA: &[u8] = b"weft 5";

pub(crate) const NAT: Table = Table {
    family: Family::Inet,
    name: "weft",
};
pub(super) const GUARD: Table = Table {
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
/// The sets of the addresses' translation.
const TRANSLATION: [Set; 6] = [MASQ4, MASQ6, SNAT4, SNAT6, LOCAL4, LOCAL6];

/// Every set; a record names one by its name, which is unique over both tables.
pub(crate) fn sets() -> impl Iterator<Item = Set> {
    TRANSLATION
        .into_iter()
        .chain(published::SETS)
        .chain(isolation::SETS)
        .chain(guard::SETS)
        .chain(limits::SETS)
}

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
const META_NFPROTO: u32 = 15;

/// What differs between the families.
pub(crate) struct Protocol {
    pub(crate) number: u8,
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) length: u32,
    multicast: &'static [u8],
    multicast_mask: &'static [u8],
    pub(super) local: &'static str,
    pub(super) snat: &'static str,
    pub(super) masq: &'static str,
}

pub(crate) const IPV4: Protocol = Protocol {
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
pub(crate) const IPV6: Protocol = Protocol {
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
    pub(crate) fn is_this(&self) -> [Expression; 2] {
        [
            Expression::Meta {
                key: META_NFPROTO,
                register: FIRST,
            },
            is(&[self.number]),
        ]
    }

    pub(super) fn load(&self, offset: u32, length: u32, register: u32) -> Expression {
        network_layer(offset, length, register)
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
                is(self.multicast),
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

/// One table with everything in it. It fails with EEXIST where there is one already.
pub(super) fn create(table: &Table, batch: &mut Batch) {
    table.create(SCHEMA, batch);
    for (id, set) in (1..).zip(sets().filter(|set| set.table == *table)) {
        set.create(id, batch);
    }
    let chains = if *table == NAT {
        let mut after: Vec<Vec<Expression>> = published::postrouting_rules();
        after.extend(IPV4.rules().into_iter().chain(IPV6.rules()));
        let mut chains = published::chains();
        chains.push((NAT_POST, after));
        chains.extend(isolation::chains());
        chains.extend(limits::chains());
        chains
    } else {
        guard::chains()
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
