//! What a chain does with a packet, as far as that is certain.
//!
//! Why it is so: docs/decisions/ruleset.md.

use std::collections::BTreeMap;

use weft_kernel::nft::{
    Attribute, Element, ForeignChain, Key, NftSocket, RawRule, Set, SetKind, Table,
};
use weft_node::WeftError;

use super::machine::{Outcome, Step, is_for_all, leads_to, try_rule};
use super::packet::Packet;

impl Fate {
    /// Whether it does not pass.
    pub(super) fn is_dropped(self) -> bool {
        matches!(self, Self::Dropped | Self::DroppedByDefault)
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// No rule drops it.
    Passes,
    /// A rule about it drops it.
    Dropped,
    /// No rule lets it through, and what none is about is dropped: by the policy or by a rule for all.
    DroppedByDefault,
    /// A rule that is not understood decides.
    Unknown,
}

type Rule = Vec<(String, Vec<Attribute>)>;

/// A table's chains with their rules.
#[derive(Debug)]
pub(super) struct Rules {
    table: Table,
    chains: BTreeMap<String, Vec<Rule>>,
}

impl Rules {
    /// Those of a table.
    pub(super) fn of(table: &Table, rules: &[RawRule]) -> Self {
        let mut chains: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        for rule in rules {
            let chain = chains.entry(rule.chain.clone()).or_default();
            chain.push(rule.expressions());
        }
        Self {
            table: table.clone(),
            chains,
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn read(nft: &mut NftSocket, table: &Table) -> Result<Self, WeftError> {
        Ok(Self::of(table, &nft.rules(table)?))
    }

    /// Whether every packet comes from a chain to another one, if no rule before sends it elsewhere.
    pub(super) fn leads_to(&self, from: &str, to: &str) -> bool {
        let rules = self.chains.get(from).into_iter().flatten();
        rules
            .filter(|rule| is_for_all(rule))
            .any(|rule| leads_to(rule).as_deref() == Some(to))
    }

    /// What a base chain of the table does with a packet.
    pub(super) fn fate(&self, nft: &mut NftSocket, chain: &ForeignChain, packet: &Packet) -> Fate {
        let mut look = Look {
            rules: self,
            nft,
            packet,
            may_pass: false,
            may_be_dropped: false,
            is_by_default: false,
            depth: 0,
            chains: 0,
        };
        let end = look.chain(&chain.name, true);
        let (passes, dropped, by_default) = match end {
            Some(Outcome::Accept) => (true, false, false),
            Some(Outcome::Drop) => (false, true, look.is_by_default),
            Some(Outcome::Any) => (true, true, false),
            _ => (!chain.drops, chain.drops, chain.drops),
        };
        match (passes || look.may_pass, dropped || look.may_be_dropped) {
            (true, false) => Fate::Passes,
            // A rule that may drop it as well is more than a default.
            (false, true) if by_default && !look.may_be_dropped => Fate::DroppedByDefault,
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
    /// The rule that dropped it was for all.
    is_by_default: bool,
    depth: u32,
    /// How many chains were looked into.
    chains: u32,
}

impl Look<'_> {
    /// What ends the packet's way in a chain; none if it falls out at the end. `is_certain` is whether it comes there
    /// at all.
    fn chain(&mut self, name: &str, is_certain: bool) -> Option<Outcome> {
        /// NFT_JUMP_STACK_SIZE.
        const DEEPEST: u32 = 16;
        /// More chains are not looked into: rules that branch that much are not understood.
        const MOST_CHAINS: u32 = 10_000;
        let rules = self.rules;
        self.depth += 1;
        self.chains += 1;
        if self.depth > DEEPEST || self.chains > MOST_CHAINS {
            self.depth -= 1;
            self.may_pass |= self.chains > MOST_CHAINS;
            self.may_be_dropped |= self.chains > MOST_CHAINS;
            return None;
        }
        let mut end = None;
        let mut is_certain = is_certain;
        for rule in rules.chains.get(name).into_iter().flatten() {
            end = self.rule(rule, &mut is_certain);
            if end.is_some() {
                break;
            }
        }
        self.depth -= 1;
        end.filter(|end| *end != Outcome::Return)
    }

    /// What a rule does. `is_certain` ends where it may have sent the packet away.
    fn rule(&mut self, rule: &Rule, is_certain: &mut bool) -> Option<Outcome> {
        let Self {
            rules, nft, packet, ..
        } = self;
        let table = rules.table.clone();
        let mut sets = |set: &str, key: &[u8]| find_in_set(nft, &table, set, key);
        let (step, is_known) = try_rule(rule, packet, &mut sets);
        let Step::Verdict(outcome) = step else {
            return None;
        };
        let is_sure = *is_certain && is_known;
        let end = match outcome {
            Outcome::Jump(chain) => self.chain(&chain, is_sure)?,
            Outcome::Goto(chain) => self.chain(&chain, is_sure).unwrap_or(Outcome::Return),
            Outcome::Drop => {
                self.is_by_default = is_sure && is_for_all(rule);
                Outcome::Drop
            }
            end @ (Outcome::Accept | Outcome::Return | Outcome::Any) => end,
        };
        if end == Outcome::Any {
            // A verdict map or a queue: anything, or nothing at all.
            (self.may_pass, self.may_be_dropped) = (true, true);
            *is_certain = false;
            return None;
        }
        if is_sure {
            return Some(end);
        }
        match end {
            Outcome::Accept => self.may_pass = true,
            Outcome::Drop => self.may_be_dropped = true,
            Outcome::Return | Outcome::Jump(_) | Outcome::Goto(_) | Outcome::Any => {
                *is_certain = false;
            }
        }
        None
    }
}

/// The element of a set that has a key of one field; if its keys have another length that is not known.
fn find_in_set(
    nft: &mut NftSocket,
    table: &Table,
    name: &str,
    known: &[u8],
) -> Option<Option<Element>> {
    let set = Set {
        table: table.clone(),
        name: name.to_owned().into(),
        key: &[Key::Ipv4],
        kind: SetKind::Hash,
    };
    // Names have sixteen bytes, IPv6 addresses too, IPv4 addresses four, ports two, protocols one.
    for length in [16, 4, 2, 1].into_iter().filter(|one| *one <= known.len()) {
        let key = known.get(..length)?.to_vec();
        // A key of another length is refused.
        if let Ok(found) = nft.find(&set, &Element::new(key, "")) {
            return Some(found);
        }
    }
    None
}
