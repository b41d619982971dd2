//! Rules in force: chains, sets and members in the kernel become what files and stores say.

use std::collections::{BTreeMap, BTreeSet};

use weft_kernel::nft::{Batch, Element, Exclusive, NftSocket, Set};
use weft_store::{AttachmentRecord, Sharing, StoreError};

use super::compile::{DESTINATION, Structures, is_member_set, member_set};
use super::members::{is_membership, refresh};
use super::state::State;
use crate::error::AttachError;
use crate::host::Host;
use crate::names::owner;
use crate::ruleset::{
    self, CONNECTED, HOME4, HOME6, IN_FORCE, KNOWN4, KNOWN6, NAT, connection, element,
};

/// Shared by who becomes a member of what rules say, exclusive to change the rules.
pub(crate) const POLICY_LOCK: &str = "policy";
/// The mark of what belongs to the rules and to nobody's attachment.
pub(crate) const OWNER: &str = "weft policy";
/// How often a change is tried again when others keep changing the ruleset.
const ATTEMPTS: u32 = 50;
/// Far above the ids of the skeleton's sets, which are of another batch.
const FIRST_SET_ID: u32 = 1000;

/// What [`apply`] has found to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rules that are in force now.
    pub rules: usize,
    /// Containers that are members of something else than before.
    pub changed: usize,
    /// Connections that had begun and are no longer allowed.
    pub ended: usize,
}

/// Puts the rules of all files and networks in force, for containers that run already too.
/// Connections that they no longer allow end.
///
/// # Errors
/// Code 7 for a file that cannot be read: what was in force stays; and the kernel's.
pub fn apply(host: &mut Host) -> Result<Applied, AttachError> {
    let _lock = host.store.named_lock(POLICY_LOCK, Sharing::Exclusive)?;
    let state = State::read(host)?;
    let changed = refresh_records(host, &state)?;
    let records = host.all_attachments()?;
    let is_used = !state.is_empty() || records.iter().any(|record| !record.isolation.is_none());
    if is_used || is_anything_there(host)? {
        reconcile(host, &state, &records)?;
    }
    let ended = super::decide::end_denied(host)?;
    Ok(Applied {
        rules: state.rules.len(),
        changed,
        ended,
    })
}

fn is_anything_there(host: &mut Host) -> Result<bool, AttachError> {
    Ok(!host.nft()?.elements(&IN_FORCE)?.is_empty())
}

/// Whether exactly these rules are in force.
fn is_in_force(host: &mut Host, state: &State) -> Result<bool, AttachError> {
    // Without rules nothing is in force: not what was before, either.
    if state.is_empty() {
        return Ok(!is_anything_there(host)?);
    }
    let wanted = Element::new(state.digest().to_vec(), OWNER);
    Ok(host.nft()?.find(&IN_FORCE, &wanted)?.is_some())
}

/// Whether the rules there are are in force, and an attachment is a member of what they mean.
pub(crate) fn is_obeyed(host: &mut Host, record: &AttachmentRecord) -> Result<bool, AttachError> {
    let state = State::read(host)?;
    let is_right = !refresh(&mut record.clone(), &state.rules);
    Ok(is_right && is_in_force(host, &state)?)
}

/// A closed network has no attachments any more: its own rules go with it.
pub(crate) fn forget_network(host: &mut Host, name: &str) -> Result<(), AttachError> {
    host.store.write(|transaction| {
        transaction.remove_network(name);
        Ok::<_, StoreError>(())
    })?;
    match apply(host) {
        // Files with mistakes keep nobody from being removed; what is in force stays until they are
        // put right, and means nobody of this network any more.
        Err(AttachError::Cni(error)) => {
            tracing::warn!(error = error.msg, "policies are not applied");
            Ok(())
        }
        outcome => outcome.map(drop),
    }
}

fn refresh_records(host: &Host, state: &State) -> Result<usize, AttachError> {
    let mut changed = 0;
    let stores = std::iter::once(host.store.clone()).chain(host.store.siblings());
    for store in stores {
        let records = store.read(|transaction| transaction.attachments())?;
        let is_stale = |record: &AttachmentRecord| refresh(&mut record.clone(), &state.rules);
        if !records.iter().any(is_stale) {
            continue;
        }
        changed += store.write(|transaction| {
            let mut changed = 0;
            for mut record in transaction.attachments()? {
                if refresh(&mut record, &state.rules) {
                    transaction.replace_attachment(&record)?;
                    changed += 1;
                }
            }
            Ok::<_, StoreError>(changed)
        })?;
    }
    Ok(changed)
}

/// Chains, sets and connections without members, into a table that has none yet.
pub(crate) fn install(state: &State, batch: &mut Batch) {
    let structures = Structures::of(&state.rules);
    create(&structures, &BTreeSet::new(), &BTreeSet::new(), batch);
    let wanted = shared_elements(state);
    for (set, elements) in &wanted {
        set.add(elements, Exclusive::No, batch);
    }
}

/// The sets of members that the rules need.
pub(crate) fn member_sets(state: &State) -> BTreeSet<&'static str> {
    Structures::of(&state.rules).sets
}

/// What belongs to the rules themselves: the connections and the digest.
fn shared_elements(state: &State) -> Vec<(Set, Vec<Element>)> {
    let pairs = state
        .pairs
        .iter()
        .filter_map(|(from, to)| element(&connection(from, to), OWNER))
        .map(|(_, element)| element)
        .collect();
    let digest = Element::new(state.digest().to_vec(), OWNER);
    let digests = if state.is_empty() {
        Vec::new()
    } else {
        vec![digest]
    };
    vec![(CONNECTED, pairs), (IN_FORCE, digests)]
}

/// Makes what is missing and fills the chains anew.
fn create(
    structures: &Structures,
    sets: &BTreeSet<String>,
    chains: &BTreeSet<String>,
    batch: &mut Batch,
) {
    for (id, name) in (FIRST_SET_ID..).zip(&structures.sets) {
        if let Some(set) = member_set(name).filter(|set| !sets.contains(set.name)) {
            set.create(id, batch);
        }
    }
    for (position, (chain, _)) in structures.chains.iter().enumerate() {
        if position > 0 && !chains.contains(chain.name) {
            chain.create(batch);
        }
    }
    for (chain, lines) in &structures.chains {
        for (parts, comment) in lines {
            chain.append_with_comment(parts, comment, batch);
        }
    }
}

fn reconcile(
    host: &mut Host,
    state: &State,
    records: &[AttachmentRecord],
) -> Result<(), AttachError> {
    let structures = Structures::of(&state.rules);
    let members = members_by_set(records);
    for _ in 0..ATTEMPTS {
        let nft = host.nft()?;
        let generation = nft.generation()?;
        let mut batch = Batch::at_generation(generation);
        let puts_back = change(nft, state, &structures, &members, &mut batch)?;
        match nft.commit(&batch) {
            Ok(()) if puts_back => return ruleset::settle(host, records),
            Ok(()) => return Ok(()),
            Err(error) if error.is_outdated() => {}
            // Tables that are missing or of an older Weft's are made, with everything in them.
            Err(error) if error.is_absent() => ruleset::restore(host, None)?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(AttachError::Conflict {
        key: "nft",
        name: "inet weft".to_owned(),
        why: format!("changed during each of {ATTEMPTS} attempts to put policies in force"),
    })
}

type Members = BTreeMap<String, BTreeMap<Vec<u8>, String>>;

/// Who is a member of which set, by key.
fn members_by_set(records: &[AttachmentRecord]) -> Members {
    let mut members = Members::new();
    for record in records {
        let own = owner(&record.id);
        for one in record.nft.iter().filter(|one| is_membership(one)) {
            if let Some((set, element)) = element(one, &own) {
                let set = members.entry(set.name.to_owned()).or_default();
                set.entry(element.key).or_insert_with(|| own.clone());
            }
        }
    }
    members
}

/// What is to change. Whether members are among it who are not in their sets yet.
fn change(
    nft: &mut NftSocket,
    state: &State,
    structures: &Structures,
    members: &Members,
    batch: &mut Batch,
) -> Result<bool, AttachError> {
    let mut puts_back = false;
    let sets: BTreeSet<String> = nft
        .set_names(&NAT)?
        .into_iter()
        .filter(|name| is_member_set(name))
        .collect();
    let chains: BTreeSet<String> = nft
        .chain_names(&NAT)?
        .into_iter()
        .filter(|name| name.starts_with(DESTINATION))
        .collect();
    ruleset::POLICY.flush(batch);
    let chain = |name: &str| weft_kernel::nft::Chain {
        table: NAT,
        name: weft_kernel::nft::interned(name),
        base: None,
    };
    chains.iter().for_each(|name| chain(name).flush(batch));
    create(structures, &sets, &chains, batch);
    let wanted: BTreeSet<&str> = structures.chains.iter().map(|(one, _)| one.name).collect();
    for name in chains.iter().filter(|name| !wanted.contains(name.as_str())) {
        chain(name).delete(batch);
    }
    for name in &sets {
        match member_set(name) {
            Some(set) if !structures.sets.contains(set.name) => set.delete(batch),
            _ => {}
        }
    }
    let none = BTreeMap::new();
    for name in &structures.sets {
        if let Some(set) = member_set(name) {
            let there = if sets.contains(set.name) {
                nft.elements(&set)?
            } else {
                Vec::new()
            };
            let wanted = members.get(set.name).unwrap_or(&none);
            puts_back |= difference(&set, &there, wanted, batch);
        }
    }
    for set in [KNOWN4, KNOWN6, HOME4, HOME6] {
        let there = nft.elements(&set)?;
        let wanted = members.get(set.name).unwrap_or(&none);
        puts_back |= difference(&set, &there, wanted, batch);
    }
    for (set, elements) in shared_elements(state) {
        let there: Vec<Element> = nft
            .elements(&set)?
            .into_iter()
            .filter(|one| &*one.owner == OWNER)
            .collect();
        let wanted = elements
            .into_iter()
            .map(|one| (one.key, one.owner.to_string()))
            .collect();
        difference(&set, &there, &wanted, batch);
    }
    Ok(puts_back)
}

/// Whether any are missing.
fn difference(
    set: &Set,
    there: &[Element],
    wanted: &BTreeMap<Vec<u8>, String>,
    batch: &mut Batch,
) -> bool {
    let is_right = |one: &Element| {
        wanted
            .get(&one.key)
            .is_some_and(|owner| **owner == *one.owner)
    };
    let stale: Vec<Element> = there.iter().filter(|one| !is_right(one)).cloned().collect();
    let kept: BTreeSet<&Vec<u8>> = there
        .iter()
        .filter(|one| is_right(one))
        .map(|one| &one.key)
        .collect();
    let missing: Vec<Element> = wanted
        .iter()
        .filter(|(key, _)| !kept.contains(key))
        .map(|(key, owner)| Element::new(key.clone(), owner))
        .collect();
    if !stale.is_empty() {
        set.remove(&stale, batch);
    }
    if !missing.is_empty() {
        set.add(&missing, Exclusive::No, batch);
    }
    !missing.is_empty()
}
