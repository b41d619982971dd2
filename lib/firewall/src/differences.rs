//! What nf_tables has of Weft's, and what it should have.
//!
//! What should be is made by the same code as what is: in a network namespace for the moment, whose
//! rules are then compared as the kernel shows them.

use std::collections::BTreeSet;

use weft_kernel::NetNs;
use weft_kernel::nft::{Key, NftSocket, Set, SetKind, Table};
use weft_node::{Host, WeftError};
use weft_store::{LINKS_LOCK, Sharing};

use crate::foreign::admission;
use crate::foreign::passage::Passage;
use crate::ruleset::{self, Own, TABLES};
use crate::{connections, policy, restore};

/// A difference between what is and what should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// It is there and should not; else the other way round.
    pub is_extra: bool,
    /// What, readable: table, set or chain, element or rule.
    pub what: String,
}

/// A namespace with nothing in it but the ruleset that should be.
fn expected(host: &mut Host) -> Result<NetNs, WeftError> {
    let home = NetNs::current()?;
    let netns = NetNs::create()?;
    let mut nft = NftSocket::open_in(&netns, &home)?;
    restore::build(host, &mut nft)?;
    Ok(netns)
}

/// Runs `work` where there is nothing but the ruleset that should be.
///
/// # Errors
/// The stores' and the kernel's, and code 7 for policies that cannot be read.
pub fn in_expected<T>(host: &mut Host, work: impl FnOnce() -> T) -> Result<T, WeftError> {
    let netns = expected(host)?;
    Ok(netns.run(&NetNs::current()?, work)?)
}

/// Compares what is with what should be. Rules of the administrator's own chain are not looked at.
///
/// # Errors
/// As [`in_expected`].
pub fn differences(host: &mut Host) -> Result<Vec<Difference>, WeftError> {
    let home = NetNs::current()?;
    let netns = expected(host)?;
    let wanted = lines(&mut NftSocket::open_in(&netns, &home)?)?;
    let there = lines(host.nft()?)?;
    let not_admitted = not_admitted(host)?;
    // No attachment has needed a table yet: that there is none is right.
    if there.is_empty() && !is_needed(host)? {
        return Ok(not_admitted);
    }
    let difference = |is_extra| {
        move |what: &String| Difference {
            is_extra,
            what: what.clone(),
        }
    };
    let mut all: Vec<Difference> = wanted.difference(&there).map(difference(false)).collect();
    all.extend(there.difference(&wanted).map(difference(true)));
    all.extend(not_admitted);
    all.sort();
    Ok(all)
}

/// Chains of others that drop packets which weft-firewall or weft-dns is to let through.
fn not_admitted(host: &mut Host) -> Result<Vec<Difference>, WeftError> {
    let mut missing = Vec::new();
    for passage in Passage::admitted(&host.attachments()?) {
        for (chain, place) in admission::dropping(host, &passage)? {
            let (family, table) = (chain.table.family.as_str(), chain.table.name);
            let what = match &passage {
                Passage::Through(behind) => behind.link.clone(),
                Passage::Questions { link, .. } => format!("questions for names of {link}"),
            };
            missing.push(Difference {
                is_extra: false,
                what: format!("{family} {table}: chain {place}, a rule that lets {what} through"),
            });
        }
    }
    Ok(missing)
}

/// Lets those packets through.
fn admit(host: &mut Host) -> Result<(), WeftError> {
    for passage in Passage::admitted(&host.attachments()?) {
        admission::ensure(host, &passage)?;
    }
    Ok(())
}

fn is_needed(host: &Host) -> Result<bool, WeftError> {
    let needs = |record: &weft_store::AttachmentRecord| {
        !record.nft.is_empty() || !record.isolation.is_none() || record.is_kept_apart()
    };
    Ok(host.attachments()?.iter().any(needs))
}

/// Everything of both tables, a line each; what the administrator has put into them is left out.
fn lines(nft: &mut NftSocket) -> Result<BTreeSet<String>, WeftError> {
    let mut lines = BTreeSet::new();
    for table in TABLES {
        let name = format!("{} {}", table.family.as_str(), table.name);
        let own = Own::of(&table);
        for set in nft
            .set_names(&table)?
            .iter()
            .filter(|set| Own::has_set(set))
        {
            lines.insert(format!("{name}: set {set}"));
        }
        let chains = nft.chain_names(&table)?;
        for chain in chains.iter().filter(|chain| own.has_chain(chain)) {
            lines.insert(format!("{name}: chain {chain}"));
        }
        lines.extend(rules(nft, &table, &name)?);
    }
    for set in ruleset::all_sets(nft)? {
        for element in nft.elements(&set)? {
            let end = element.key_end.as_ref();
            let end = end.map_or_else(String::new, |end| format!(" to {}", key_text(&set, end)));
            let value = element.value.as_ref().map_or_else(String::new, |value| {
                format!(" : {}", value_text(&set, value))
            });
            let key = key_text(&set, &element.key);
            // Networks that share an element share it under the name of the first.
            let owner = match element.owner.strip_prefix("weft network ") {
                Some(_) => "a network",
                None => &element.owner,
            };
            lines.insert(format!("set {}: {key}{end}{value} ({owner})", set.name));
        }
    }
    Ok(lines)
}

fn rules(nft: &mut NftSocket, table: &Table, name: &str) -> Result<Vec<String>, WeftError> {
    let mut lines = Vec::new();
    let mut last = String::new();
    let mut number = 0;
    let own = Own::of(table);
    for rule in nft.rules(table)? {
        if rule.chain == ruleset::USER_PRE.name || !own.has_chain(&rule.chain) {
            continue;
        }
        number = if rule.chain == last { number + 1 } else { 1 };
        last.clone_from(&rule.chain);
        let parts = rule.parts();
        lines.push(format!("{name}: chain {last}, rule {number}: {parts}"));
    }
    Ok(lines)
}

/// A key, a field after the other.
pub fn key_text(set: &Set, bytes: &[u8]) -> String {
    fields_text(set.key, bytes)
}

fn value_text(set: &Set, bytes: &[u8]) -> String {
    match set.kind {
        SetKind::Map(fields) => fields_text(fields, bytes),
        SetKind::Verdicts => String::from_utf8_lossy(bytes).into_owned(),
        SetKind::Hash
        | SetKind::Interval
        | SetKind::Counted
        | SetKind::Rate
        | SetKind::Connections => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn fields_text(fields: &[Key], mut bytes: &[u8]) -> String {
    let mut texts = Vec::new();
    for field in fields {
        let length = field.bytes().next_multiple_of(4);
        let length = usize::try_from(length)
            .unwrap_or(bytes.len())
            .min(bytes.len());
        let (part, rest) = bytes.split_at(length);
        texts.push(field.text(part));
        bytes = rest;
    }
    texts.join(" . ")
}

/// Puts the ruleset back as it should be, if it is not; the administrator's own chain stays.
///
/// # Errors
/// As [`in_expected`].
pub fn reload(host: &mut Host) -> Result<Vec<Difference>, WeftError> {
    let before = match differences(host) {
        // Rules that cannot be read must not keep open what is closed without any.
        Err(error @ WeftError::Cni(_)) if !has_tables(host)? => {
            let _lock = host.store.named_lock(LINKS_LOCK, Sharing::Exclusive)?;
            if is_needed(host)? {
                restore(host, None)?;
            }
            return Err(error);
        }
        outcome => outcome?,
    };
    if before.is_empty() {
        // Something may have begun while there were no rules.
        policy::end_denied(host)?;
        return Ok(before);
    }
    // ADD and DEL wait meanwhile.
    let _lock = host.store.named_lock(LINKS_LOCK, Sharing::Exclusive)?;
    // What was the work of a call on its way is done by now.
    if differences(host)?.is_empty() {
        return Ok(Vec::new());
    }
    // Tables that no attachment needs go, unless the administrator has rules there.
    if is_needed(host)? || !ruleset::delete_tables(host)? {
        restore::rebuild(host)?;
        crate::apply(host)?;
        let records = host.attachments()?;
        connections::end_untranslated(host, &records)?;
    }
    admit(host)?;
    Ok(before)
}

/// Whether Weft's tables are there, whatever is in them.
///
/// # Errors
/// The kernel's.
pub fn has_tables(host: &mut Host) -> Result<bool, WeftError> {
    for table in TABLES {
        if !host.nft()?.has_table(&table)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many packets each closed network has refused, to or from its containers, by the interface of the host that they
/// are behind.
///
/// # Errors
/// The kernel's.
pub fn refused_packets(host: &mut Host) -> Result<Vec<(String, u64)>, WeftError> {
    counted(host, &ruleset::REFUSED)
}

/// How many frames of each guarded port were dropped, by the port's name.
///
/// # Errors
/// The kernel's.
pub fn dropped_frames(host: &mut Host) -> Result<Vec<(String, u64)>, WeftError> {
    counted(host, &ruleset::PORTS)
}

fn counted(host: &mut Host, set: &Set) -> Result<Vec<(String, u64)>, WeftError> {
    let elements = host.nft()?.elements(set)?;
    Ok(elements
        .iter()
        .map(|one| (key_text(set, &one.key), one.packets))
        .collect())
}
