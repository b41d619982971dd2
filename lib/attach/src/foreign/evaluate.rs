//! What a chain does with a packet, as far as that is certain.

use std::collections::BTreeMap;

use weft_kernel::nft::{
    Attribute, Element, ForeignChain, Key, NftSocket, RawRule, Set, SetKind, Table, interned,
};

use super::machine::{Outcome, Step, try_rule};
use super::packet::Packet;
use crate::error::AttachError;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It passes.
    Passes,
    /// It is dropped.
    Dropped,
    /// A rule that is not understood decides.
    Unknown,
}

type Rule = Vec<(String, Vec<Attribute>)>;

/// A table's chains with their rules.
#[derive(Debug)]
pub(crate) struct Rules {
    table: Table,
    chains: BTreeMap<String, Vec<Rule>>,
}

impl Rules {
    /// Those of a table.
    pub(crate) fn of(table: Table, rules: &[RawRule]) -> Self {
        let mut chains: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        for rule in rules {
            let chain = chains.entry(rule.chain.clone()).or_default();
            chain.push(rule.expressions());
        }
        Self { table, chains }
    }

    /// Reads them.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn read(nft: &mut NftSocket, table: Table) -> Result<Self, AttachError> {
        Ok(Self::of(table, &nft.rules(&table)?))
    }

    /// What a base chain of the table does with a packet.
    pub(crate) fn fate(&self, nft: &mut NftSocket, chain: &ForeignChain, packet: &Packet) -> Fate {
        let mut look = Look {
            rules: self,
            nft,
            packet,
            may_pass: false,
            may_be_dropped: false,
            depth: 0,
        };
        let end = look.chain(&chain.name, true);
        let (passes, dropped) = match end {
            Some(Outcome::Accept) => (true, false),
            Some(Outcome::Drop) => (false, true),
            _ => (!chain.drops, chain.drops),
        };
        match (passes || look.may_pass, dropped || look.may_be_dropped) {
            (true, false) => Fate::Passes,
            (false, true) => Fate::Dropped,
            _ => Fate::Unknown,
        }
    }
}

struct Look<'a> {
    rules: &'a Rules,
    nft: &'a mut NftSocket,
    packet: &'a Packet,
    /// A rule that may match accepts it.
    may_pass: bool,
    /// A rule that may match drops it.
    may_be_dropped: bool,
    depth: u32,
}

impl Look<'_> {
    /// What ends the packet's way in a chain; none if it falls out at the end. `is_certain` is whether it comes there
    /// at all.
    fn chain(&mut self, name: &str, is_certain: bool) -> Option<Outcome> {
        /// NFT_JUMP_STACK_SIZE.
        const DEEPEST: u32 = 16;
        let rules = self.rules;
        self.depth += 1;
        if self.depth > DEEPEST {
            self.depth -= 1;
            return None;
        }
        let mut end = None;
        for rule in rules.chains.get(name).into_iter().flatten() {
            end = self.rule(rule, is_certain);
            if end.is_some() {
                break;
            }
        }
        self.depth -= 1;
        end.filter(|end| *end != Outcome::Return)
    }

    fn rule(&mut self, rule: &Rule, is_certain: bool) -> Option<Outcome> {
        let Self {
            rules, nft, packet, ..
        } = self;
        let table = rules.table;
        let mut sets = |set: &str, key: &[u8]| is_in_set(nft, table, set, key);
        let (step, is_known) = try_rule(rule, packet, &mut sets);
        let Step::Verdict(outcome) = step else {
            return None;
        };
        let is_certain = is_certain && is_known;
        let end = match outcome {
            Outcome::Jump(chain) => self.chain(&chain, is_certain)?,
            Outcome::Goto(chain) => self.chain(&chain, is_certain).unwrap_or(Outcome::Return),
            end => end,
        };
        if is_certain {
            return Some(end);
        }
        match end {
            Outcome::Accept => self.may_pass = true,
            Outcome::Drop => self.may_be_dropped = true,
            _ => {}
        }
        None
    }
}

/// Whether a set has a key of one field; if its keys have another length nobody knows.
fn is_in_set(nft: &mut NftSocket, table: Table, name: &str, known: &[u8]) -> Option<bool> {
    let set = Set {
        table,
        name: interned(name),
        key: &[Key::Ipv4],
        kind: SetKind::Hash,
    };
    // Names have sixteen bytes, IPv6 addresses too, IPv4 addresses four, ports two, protocols one.
    for length in [16, 4, 2, 1].into_iter().filter(|one| *one <= known.len()) {
        let key = known.get(..length)?.to_vec();
        // A key of another length is refused.
        if let Ok(found) = nft.find(&set, &Element::new(key, "")) {
            return Some(found.is_some());
        }
    }
    None
}
