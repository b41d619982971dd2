//! Tables, sets, chains and rules, as data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use weft_kernel::nft::{BaseChain, Batch, Chain, Expression, Name, Set, Table, Verdict, name};

use super::matching::{FIRST, is};
use super::tables::{
    FamilyLayout, IPV4, IPV6, LOCAL4, LOCAL6, MASQ4, MASQ6, NAT, SNAT4, SNAT6, member_set,
};
use super::{guard, isolation, limits, published};

/// Bumped whenever the skeleton changes; kept in the tables' user data, for readers. Tables of
/// an older one stay until `weft firewall reload`.
const SCHEMA: &[u8] = b"weft 5";

/// The sets of the addresses' translation.
const TRANSLATION: [Set; 6] = [MASQ4, MASQ6, SNAT4, SNAT6, LOCAL4, LOCAL6];

/// Every set; a record names one by its name, which is unique over both tables.
pub(super) fn sets() -> impl Iterator<Item = Set> {
    TRANSLATION
        .into_iter()
        .chain(published::SETS)
        .chain(isolation::SETS)
        .chain(guard::SETS)
        .chain(limits::SETS)
}

/// A set by its name; `None` for one that is not Weft's.
pub(super) fn set_of(name: &str) -> Option<Set> {
    static BY_NAME: LazyLock<BTreeMap<Name, Set>> =
        LazyLock::new(|| sets().map(|set| (set.name.clone(), set)).collect());
    BY_NAME.get(name).cloned().or_else(|| member_set(name))
}

/// NF_INET_POST_ROUTING; five before srcnat (100), so that Weft decides before host-wide rules.
const NAT_POST: Chain = Chain {
    table: NAT,
    name: name("nat_post"),
    base: Some(BaseChain {
        kind: "nat",
        hook: 4,
        priority: 95,
    }),
};

/// Nothing is rewritten within a network and to what it excludes, nor to multicast groups;
/// then a fixed source address if there is one, else the outgoing interface's.
fn translation_rules(family: &FamilyLayout) -> [Vec<Expression>; 4] {
    let source = family.load(family.source, family.length, FIRST);
    let rule = |rest: Vec<Expression>| family.is_this().into_iter().chain(rest).collect();
    [
        rule(vec![
            source.clone(),
            family.load(family.destination, family.length, FIRST + family.length / 4),
            family.lookup(&family.local, None),
            Expression::Verdict(Verdict::Return),
        ]),
        rule(vec![
            family.load(family.destination, family.multicast_length(), FIRST),
            Expression::Mask {
                register: FIRST,
                mask: family.multicast_mask.to_vec(),
            },
            is(family.multicast),
            Expression::Verdict(Verdict::Return),
        ]),
        rule(vec![
            source.clone(),
            family.lookup(&family.snat, Some(FIRST)),
            Expression::SourceNat {
                protocol: u32::from(family.family.number()),
                register: FIRST,
            },
        ]),
        rule(vec![
            source,
            family.lookup(&family.masq, None),
            Expression::Masquerade,
        ]),
    ]
}

/// One table with everything in it. It fails with EEXIST where there is one already.
pub(crate) fn create(table: &Table, batch: &mut Batch) {
    table.create(SCHEMA, batch);
    for (id, set) in (1..).zip(sets().filter(|set| set.table == *table)) {
        set.create(id, batch);
    }
    let chains = if *table == NAT {
        let mut after: Vec<Vec<Expression>> = published::postrouting_rules();
        after.extend(
            translation_rules(&IPV4)
                .into_iter()
                .chain(translation_rules(&IPV6)),
        );
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
