//! Bringing tables and elements into the kernel.

use std::collections::{BTreeMap, BTreeSet};

use weft_kernel::KernelError;
use weft_kernel::nft::{Batch, Element, Exclusive, NftSocket, RawRule, Set, SetKind, Table};
use weft_store::{AttachmentRecord, NftRecord};

use super::by_set::BySet;
use super::elements::{element, record_of};
use super::isolation::USER_PRE;
use super::put_back::settle;
use super::skeleton::{self, NAT, TABLES, sets};
use crate::error::AttachError;
use crate::host::Host;
use crate::names::{network_owner, owner};
use crate::policy::{self, State, is_member_set, member_set};
use crate::steps::connections;

/// How often a compare-and-swap is repeated when others keep changing the ruleset.
pub(super) const SWAP_ATTEMPTS: u32 = 50;

/// The elements that a record shares with others of its network.
fn shared_elements(record: &AttachmentRecord) -> impl Iterator<Item = (Set, Element)> {
    let network = network_owner(&record.id.network);
    let shared = record.shared.iter();
    shared.filter_map(move |object| element(object.nft_element()?, &network))
}

/// The elements of a record, its network's included, with whether each must be the first.
fn elements_of(record: &AttachmentRecord) -> impl Iterator<Item = (Set, Element, Exclusive)> {
    let own = owner(&record.id);
    let mine = record.nft.iter().filter_map(move |one| element(one, &own));
    mine.map(|(set, element)| (set, element, Exclusive::Yes))
        .chain(shared_elements(record).map(|(set, element)| (set, element, Exclusive::No)))
}

/// Adds the elements of a record, and the tables if they are missing. Nothing is ever deleted or
/// flushed here, except an element that a lost attachment left on the same key.
pub(crate) fn add_elements(host: &mut Host, record: &AttachmentRecord) -> Result<(), AttachError> {
    let mut own = BySet::default();
    own.add_records(&record.nft, &owner(&record.id));
    let network: Vec<(Set, Element)> = shared_elements(record).collect();
    if own.is_empty() && network.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::new();
    for (set, elements) in own.iter() {
        set.add(elements, Exclusive::Yes, &mut batch);
    }
    match host.nft()?.commit(&batch) {
        Ok(()) => {}
        Err(error) if error.is_absent() => return restore(host, Some(record)),
        Err(error) if error.is_present() => replace(host, &own)?,
        Err(error) => return Err(error.into()),
    }
    for (set, element) in &network {
        match add_interval(host.nft()?, set, element) {
            Err(error) if error.is_absent() => return restore(host, Some(record)),
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Adds an element of an interval set, unless it is there: changing such a set is not O(1). The
/// kernel holds no overlapping intervals (of networks whose subnets overlap, or whose exclusions
/// changed): the older one stays then, and CHECK says that the younger is missing.
fn add_interval(nft: &mut NftSocket, set: &Set, element: &Element) -> Result<(), KernelError> {
    let mut batch = Batch::new();
    let there = nft.find(set, element)?;
    match there.filter(|there| is_same(there, element)) {
        Some(there) if there.value == element.value => return Ok(()),
        // The mode that the bridge had for others, who are gone.
        Some(there) => set.remove(std::slice::from_ref(&there), &mut batch),
        None => {}
    }
    set.add(std::slice::from_ref(element), Exclusive::No, &mut batch);
    match nft.commit(&batch) {
        Err(error) if error.is_present() => {
            tracing::warn!(
                set = set.name,
                owner = &*element.owner,
                "overlaps another element"
            );
            Ok(())
        }
        outcome => outcome,
    }
}

/// A look-up in an interval set finds whatever covers the key.
pub(super) fn is_same(there: &Element, wanted: &Element) -> bool {
    there.key == wanted.key && there.key_end == wanted.key_end
}

/// Tables are missing: nobody has needed them, or somebody deleted them. They are made, each whole,
/// and everything that the stores know is put into them.
pub(crate) fn restore(
    host: &mut Host,
    record: Option<&AttachmentRecord>,
) -> Result<(), AttachError> {
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
        // An older Weft's table, or somebody deleted part of it: it is made anew.
        Err(AttachError::Kernel(error)) if error.is_absent() => make_anew(host, &state, record)?,
        outcome => {
            outcome?;
            settle(host, &elements.records)?;
        }
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
    skeleton::create(table, batch);
    if *table == NAT {
        policy::install(state, batch);
    }
}

/// Both tables in one batch, whatever there was, with everything that the stores know and a new record;
/// the administrator's rules stay. Only if nobody has changed anything since the stores were read: what
/// somebody has added meanwhile would be gone.
fn make_anew(
    host: &mut Host,
    state: &State,
    record: Option<&AttachmentRecord>,
) -> Result<(), AttachError> {
    for _ in 0..SWAP_ATTEMPTS {
        let mut batch = Batch::at_generation(host.nft()?.generation()?);
        let elements = known_elements(host, record, &policy::member_sets(state))?;
        let theirs = administrators_rules(host)?;
        for table in TABLES {
            if host.nft()?.has_table(&table)? {
                table.delete(&mut batch);
            }
            create(&table, state, &mut batch);
        }
        for rule in &theirs {
            USER_PRE.append_raw(rule, &mut batch);
        }
        elements.add_hashed(None, &mut batch);
        match host.nft()?.commit(&batch) {
            Ok(()) => {
                fill(host.nft()?, &elements)?;
                return settle(host, &elements.records);
            }
            Err(error) if error.is_outdated() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AttachError::Conflict {
        key: "nft",
        name: "inet weft".to_owned(),
        why: format!("changed during each of {SWAP_ATTEMPTS} attempts to make its tables anew"),
    })
}

/// Makes both tables anew with everything that the stores know.
pub(crate) fn rebuild(host: &mut Host) -> Result<(), AttachError> {
    let state = State::read(host)?;
    make_anew(host, &state, None)
}

/// The same into another namespace, where there is nothing.
pub(crate) fn build(host: &Host, nft: &mut NftSocket) -> Result<(), AttachError> {
    let state = State::read(host)?;
    let mut batch = Batch::new();
    for table in TABLES {
        create(&table, &state, &mut batch);
    }
    nft.commit(&batch)?;
    let elements = known_elements(host, None, &policy::member_sets(&state))?;
    fill(nft, &elements)
}

/// What the administrator has put into the chain that is theirs.
fn administrators_rules(host: &mut Host) -> Result<Vec<RawRule>, AttachError> {
    let mut rules = host.nft()?.rules(&NAT)?;
    rules.retain(|rule| rule.chain == USER_PRE.name);
    Ok(rules)
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
    members: &BTreeSet<&'static str>,
) -> Result<KnownElements, AttachError> {
    let records = host.all_attachments()?;
    let (mut hashed, mut shared) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for one in records.iter().chain(record) {
        for (set, element, exclusive) in elements_of(one) {
            if is_member_set(set.name) && !members.contains(set.name) {
                continue;
            }
            if !seen.insert((set.name, element.key.clone(), element.key_end.clone())) {
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
fn fill(nft: &mut NftSocket, known: &KnownElements) -> Result<(), AttachError> {
    let mut batch = Batch::new();
    known.add_hashed(None, &mut batch);
    nft.commit(&batch)?;
    for (set, element) in &known.shared {
        if set.kind == SetKind::Interval {
            add_interval(nft, set, element)?;
        }
    }
    Ok(())
}

/// A key is taken. If its owner is an attachment that is no more, its element goes and ours comes,
/// in one batch; the address of a living one cannot be shared.
fn replace(host: &mut Host, wanted: &BySet) -> Result<(), AttachError> {
    let records = host.all_attachments()?;
    let living: BTreeMap<String, &AttachmentRecord> = records
        .iter()
        .map(|record| (owner(&record.id), record))
        .collect();
    let nft = host.nft()?;
    let mut batch = Batch::new();
    let each = wanted
        .iter()
        .flat_map(|(set, elements)| elements.iter().map(move |one| (set, one)));
    for (set, element) in each {
        if let Some(there) = nft.find(set, element)? {
            if let Some(holder) = living
                .get(&*there.owner)
                .filter(|_| there.owner != element.owner)
            {
                return Err(AttachError::Conflict {
                    key: set.name,
                    name: "an address or port".to_owned(),
                    why: format!(
                        "is that of {} already: give the networks different subnets, the \
                         containers different ports",
                        holder.id
                    ),
                });
            }
            // Somebody has put back everything meanwhile, this too.
            if there.owner == element.owner && there.value == element.value {
                continue;
            }
            tracing::warn!(
                owner = &*there.owner,
                set = set.name,
                "stale nft element replaced"
            );
            set.remove(std::slice::from_ref(element), &mut batch);
        }
        set.add(std::slice::from_ref(element), Exclusive::No, &mut batch);
    }
    Ok(nft.commit(&batch)?)
}

/// Whether the kernel has the element with this owner.
pub(crate) fn element_is_right(
    host: &mut Host,
    record: &NftRecord,
    owner: Option<&str>,
) -> Result<bool, AttachError> {
    let Some((set, wanted)) = element(record, owner.unwrap_or_default()) else {
        return Ok(false);
    };
    let there = host.nft()?.find(&set, &wanted)?;
    Ok(there.is_some_and(|there| {
        owner.is_none_or(|owner| *owner == *there.owner)
            && there.value == wanted.value
            && is_same(&there, &wanted)
    }))
}

/// Deletes both tables in one batch, so that there are never half of them; where only one is left,
/// that one.
///
/// Where the administrator has put rules into the chain that is theirs, everything stays. Whether the
/// tables are gone.
pub(crate) fn delete_tables(host: &mut Host) -> Result<bool, AttachError> {
    if !administrators_rules(host)?.is_empty() {
        return Ok(false);
    }
    let nft = host.nft()?;
    let mut both = Batch::new();
    TABLES.iter().for_each(|table| table.delete(&mut both));
    match nft.commit(&both) {
        Err(error) if error.is_absent() => {}
        outcome => {
            outcome?;
            return Ok(true);
        }
    }
    for table in TABLES {
        let mut batch = Batch::new();
        table.delete(&mut batch);
        match nft.commit(&batch) {
            Err(error) if error.is_absent() => {}
            outcome => outcome?,
        }
    }
    Ok(true)
}

/// The sets of the skeleton, and those of members that are there.
pub(crate) fn all_sets(nft: &mut NftSocket) -> Result<Vec<Set>, AttachError> {
    let names = nft.set_names(&NAT)?;
    let members = names.iter().filter_map(|name| member_set(name));
    Ok(sets().chain(members).collect())
}

/// The owners of all elements.
pub(crate) fn owners(host: &mut Host) -> Result<BTreeSet<String>, AttachError> {
    let nft = host.nft()?;
    let mut owners = BTreeSet::new();
    for set in all_sets(nft)? {
        owners.extend(
            nft.elements(&set)?
                .into_iter()
                .map(|element| element.owner.to_string()),
        );
    }
    Ok(owners)
}

/// Every element of an endpoint, as records, by owner.
pub(crate) fn records_by_owner(
    host: &mut Host,
) -> Result<BTreeMap<String, Vec<NftRecord>>, AttachError> {
    let nft = host.nft()?;
    let mut records: BTreeMap<String, Vec<NftRecord>> = BTreeMap::new();
    for set in all_sets(nft)? {
        for element in nft.elements(&set)? {
            let record = record_of(set, &element);
            records
                .entry(element.owner.to_string())
                .or_default()
                .push(record);
        }
    }
    Ok(records)
}
