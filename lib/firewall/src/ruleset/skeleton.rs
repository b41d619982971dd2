//! Tables, sets, chains and rules, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use weft_kernel::KernelError;
use weft_kernel::nft::{
    BaseChain, Batch, Chain, Expression, Name, NftSocket, Set, SetKind, Table, Verdict, name,
};

use super::isolation::USER_PRE;
use super::matching::{FIRST, is};
use super::tables::{
    DESTINATION, FamilyLayout, GUARD, IPV4, IPV6, LOCAL4, LOCAL6, MASQ4, MASQ6, NAT, SNAT4, SNAT6,
    member_set, set,
};
use super::{guard, isolation, led, limits, published};

/// Bumped whenever the skeleton changes; kept in the tables' user data, for readers. Tables of
/// an older one stay until `weft firewall reload`.
const SCHEMA: &[u8] = b"weft 8";

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

/// The sets of intervals of a table.
pub(crate) fn interval_sets(table: &Table) -> impl Iterator<Item = Set> {
    sets().filter(|set| set.kind == SetKind::Interval && set.table == *table)
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

/// In front of the user data of tables that are Weft's.
const MARK: &[u8] = b"weft ";

/// Sets of earlier versions.
const OBSOLETE: [(Table, &str); 4] = [
    (NAT, "apart4"),
    (NAT, "apart6"),
    (GUARD, "reached4"),
    (GUARD, "reached6"),
];

/// Whether a table with this user data is one that Weft has made.
pub(super) fn is_weft(user_data: &[u8]) -> bool {
    user_data.starts_with(MARK)
}

/// One table with everything in it. It fails with EEXIST where there is one already.
pub(crate) fn create(table: &Table, batch: &mut Batch) {
    table.create(SCHEMA, batch);
    fill(table, batch);
}

/// A table that is there becomes as if it were made anew, without an element; sets of intervals keep theirs. What the
/// administrator has put into it stays.
///
/// A table that is deleted and made in one batch is another one: a packet can pass the empty new chain just before, and
/// the emptied old one just after. Of one chain each packet sees the old rules or the new ones.
pub(crate) fn renew(table: &Table, present: &Present, batch: &mut Batch) {
    for (chain, _) in chains(table) {
        if chain != USER_PRE && present.chains.contains(&*chain.name) {
            chain.flush(batch);
        }
    }
    for set in sets().filter(|set| set.table == *table) {
        if set.kind != SetKind::Interval && present.sets.contains(&*set.name) {
            set.flush(batch);
        }
    }
    for (of, name) in OBSOLETE {
        if of == *table && present.sets.contains(name) {
            set(of, name, &[], SetKind::Hash).delete(batch);
        }
    }
    fill(table, batch);
}

/// Names of what a table has.
#[derive(Debug, Default)]
pub(crate) struct Present {
    pub(crate) sets: BTreeSet<String>,
    pub(crate) chains: BTreeSet<String>,
}

impl Present {
    pub(crate) fn read(nft: &mut NftSocket, table: &Table) -> Result<Self, KernelError> {
        Ok(Self {
            sets: nft.set_names(table)?.into_iter().collect(),
            chains: nft.chain_names(table)?.into_iter().collect(),
        })
    }

    /// Whether there is something that Weft does not know.
    pub(super) fn has_foreign(&self, table: &Table) -> bool {
        let own = Own::of(table);
        !self.chains.iter().all(|name| own.has_chain(name))
            || !self.sets.iter().all(|name| Own::has_set(name))
    }
}

/// What in a table is Weft's, by names: all else is the administrator's.
pub(crate) struct Own(BTreeSet<String>);

impl Own {
    pub(crate) fn of(table: &Table) -> Self {
        let names = chains(table)
            .into_iter()
            .map(|(chain, _)| chain.name.to_string());
        Self(names.collect())
    }

    pub(crate) fn has_chain(&self, name: &str) -> bool {
        self.0.contains(name) || name.starts_with(DESTINATION)
    }

    pub(crate) fn has_set(name: &str) -> bool {
        set_of(name).is_some() || OBSOLETE.iter().any(|(_, old)| *old == name)
    }
}

fn chains(table: &Table) -> Vec<(Chain, Vec<Vec<Expression>>)> {
    if *table != NAT {
        return guard::chains();
    }
    let mut after = vec![led::keep_addresses()];
    after.extend(published::postrouting_rules());
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
}

/// Sets, chains and rules. Sets and chains that are there stay.
fn fill(table: &Table, batch: &mut Batch) {
    for (id, set) in (1..).zip(sets().filter(|set| set.table == *table)) {
        set.create(id, batch);
    }
    let chains = chains(table);
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
