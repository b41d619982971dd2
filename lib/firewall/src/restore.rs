//! Tables that are missing or of an older Weft's are made, with everything that the stores know.
//!
//! Why it is so: docs/decisions/ruleset.md.

use std::collections::BTreeSet;

use weft_cni::phases::measure;
use weft_kernel::nft::{Batch, Element, Exclusive, NftSocket, Set, SetKind, Table};
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, RULESET_LOCK, Sharing};

use crate::connections;
use crate::policy::{self, State};
use crate::ruleset::{self, Added, BySet, NAT, Present, TABLES, is_member_set};

/// Adds the elements of a record, and makes the tables if they are missing.
///
/// # Errors
/// [`WeftError::Conflict`] if a key is that of an attachment that lives; the stores' and the kernel's.
pub fn add_elements(host: &mut Host, record: &AttachmentRecord) -> Result<(), WeftError> {
    let mut add = || match ruleset::add_elements(host, record)? {
        Added::All => Ok(()),
        Added::TablesMissing => restore(host, Some(record)),
    };
    match ruleset::phase_of(&[record]) {
        Some(phase) => measure(phase, add),
        None => add(),
    }
}

/// Tables are missing: no attachment has needed them, or they were deleted. They are made, each whole,
/// and everything that the stores know is put into them.
///
/// # Errors
/// The stores' and the kernel's; code 11 if attachments that leave hold the ruleset lock for too long.
pub fn restore(host: &mut Host, record: Option<&AttachmentRecord>) -> Result<(), WeftError> {
    let _lock = host.store.named_lock(RULESET_LOCK, Sharing::Exclusive)?;
    restore_under_lock(host, record)
}

/// The same. The ruleset lock is held alone: what leaves has gone from the records or is in the kernel still.
pub(crate) fn restore_under_lock(
    host: &mut Host,
    record: Option<&AttachmentRecord>,
) -> Result<(), WeftError> {
    for table in TABLES {
        ruleset::require_weft(host.nft()?, &table)?;
    }
    let state = readable_state(host);
    let elements = known_elements(host, record, &policy::member_sets(&state))?;
    for table in TABLES {
        // Chains and elements in one batch: there is no moment at which what is closed is open.
        let mut batch = Batch::new();
        create(&table, &state, &mut batch);
        elements.add_hashed(Some(&table), &mut batch);
        match host.nft()?.commit(&batch) {
            Ok(()) => host.has_made_tables = true,
            // It was there, or another ADD was faster.
            Err(error) if error.is_present() => {}
            Err(error) => return Err(error.into()),
        }
    }
    match fill(host.nft()?, &elements) {
        // An older Weft's table, or part of it was deleted: it is made anew.
        Err(WeftError::Kernel(error)) if error.is_absent() => make_anew(host, &state, record)?,
        outcome => outcome?,
    }
    // What began while there were no rules does not go on.
    if let Err(error) = policy::end_denied(host) {
        tracing::warn!(%error, "connections that are not allowed may go on");
    }
    if let Err(error) = connections::end_untranslated(host, &elements.records) {
        tracing::warn!(%error, "connections that are not translated may go on");
    }
    Ok(())
}

/// Without rules that can be read everything that is closed stays so.
fn readable_state(host: &Host) -> State {
    State::read(host).unwrap_or_else(|error| {
        tracing::warn!(%error, "policies are not in force");
        State::default()
    })
}

fn create(table: &Table, state: &State, batch: &mut Batch) {
    ruleset::create(table, batch);
    if *table == NAT {
        policy::install(state, batch);
    }
}

/// A table that is there becomes what it would be if it were made anew.
fn renew(
    nft: &mut NftSocket,
    table: &Table,
    state: &State,
    elements: &KnownElements,
    batch: &mut Batch,
) -> Result<(), WeftError> {
    let present = Present::read(nft, table)?;
    ruleset::renew(table, &present, batch);
    if *table == NAT {
        policy::renew(state, &present, batch);
    }
    for set in ruleset::interval_sets(table) {
        if !present.sets.contains(&*set.name) {
            continue;
        }
        let is_stale = |there: &Element| {
            let mut wanted = elements.shared.iter();
            !wanted.any(|(of, one)| *of == set && is_same(one, there))
        };
        let mut stale = nft.elements(&set)?;
        stale.retain(is_stale);
        set.remove(&stale, batch);
    }
    Ok(())
}

fn is_same(one: &Element, other: &Element) -> bool {
    (&one.key, &one.key_end) == (&other.key, &other.key_end)
}

/// Both tables in one batch, whatever there was, with everything that the stores know and a new record;
/// what the administrator has put into them stays. Only if nothing has changed since the stores were read: what
/// another process has added meanwhile would be gone.
fn make_anew(
    host: &mut Host,
    state: &State,
    record: Option<&AttachmentRecord>,
) -> Result<(), WeftError> {
    for _ in 0..ruleset::SWAP_ATTEMPTS {
        let mut batch = Batch::at_generation(host.nft()?.generation()?);
        let elements = known_elements(host, record, &policy::member_sets(state))?;
        for table in TABLES {
            let nft = host.nft()?;
            match ruleset::require_weft(nft, &table)? {
                true => renew(nft, &table, state, &elements, &mut batch)?,
                false => create(&table, state, &mut batch),
            }
        }
        elements.add_hashed(None, &mut batch);
        match host.nft()?.commit(&batch) {
            Ok(()) => return fill(host.nft()?, &elements),
            Err(error) if error.is_outdated() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(WeftError::Conflict {
        key: "nft",
        name: "inet weft".to_owned(),
        why: format!(
            "changed during each of {} attempts to make its tables anew",
            ruleset::SWAP_ATTEMPTS
        ),
    })
}

/// Makes both tables anew with everything that the stores know.
///
/// # Errors
/// Code 7 for policies that cannot be read, the stores' and the kernel's.
pub fn rebuild(host: &mut Host) -> Result<(), WeftError> {
    let _lock = host.store.named_lock(RULESET_LOCK, Sharing::Exclusive)?;
    let state = State::read(host)?;
    make_anew(host, &state, None)
}

/// The same into another namespace, where there is nothing.
///
/// # Errors
/// As [`rebuild`].
pub fn build(host: &Host, nft: &mut NftSocket) -> Result<(), WeftError> {
    let state = State::read(host)?;
    let mut batch = Batch::new();
    for table in TABLES {
        create(&table, &state, &mut batch);
    }
    nft.commit(&batch)?;
    let elements = known_elements(host, None, &policy::member_sets(&state))?;
    fill(nft, &elements)
}

/// The records that are known, elements that are one attachment's, and those that several share.
struct KnownElements {
    records: Vec<AttachmentRecord>,
    hashed: Vec<(Set, Element)>,
    shared: Vec<(Set, Element)>,
}

/// Everything that the stores know, and a new record. What it was a member of by rules that are no
/// more is left out.
fn known_elements(
    host: &Host,
    record: Option<&AttachmentRecord>,
    members: &BTreeSet<String>,
) -> Result<KnownElements, WeftError> {
    let records = host.attachments()?;
    let (mut hashed, mut shared) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for one in records.iter().chain(record) {
        for (set, element, exclusive) in ruleset::elements_of(one) {
            if is_member_set(&set.name) && !members.contains(&*set.name) {
                continue;
            }
            if !seen.insert((
                set.name.clone(),
                element.key.clone(),
                element.key_end.clone(),
            )) {
                continue;
            }
            match exclusive {
                Exclusive::Yes => hashed.push((set, element)),
                Exclusive::No => shared.push((set, element)),
            }
        }
    }
    Ok(KnownElements {
        records,
        hashed,
        shared,
    })
}

impl KnownElements {
    /// Everything but intervals, of one table or of both.
    fn add_hashed(&self, table: Option<&Table>, batch: &mut Batch) {
        let is_hashed = |(set, _): &&(Set, Element)| set.kind != SetKind::Interval;
        let shared = self.shared.iter().filter(is_hashed);
        let all = self.hashed.iter().chain(shared).cloned();
        for (set, elements) in all.collect::<BySet>().iter() {
            if table.is_none_or(|table| set.table == *table) {
                set.add(elements, Exclusive::No, batch);
            }
        }
    }
}

/// Puts elements into tables that are there.
fn fill(nft: &mut NftSocket, known: &KnownElements) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    known.add_hashed(None, &mut batch);
    nft.commit(&batch)?;
    for (set, element) in &known.shared {
        if set.kind == SetKind::Interval {
            ruleset::add_interval(nft, set, element)?;
        }
    }
    Ok(())
}
