//! Rules in force: chains, sets and members in the kernel become what files and stores say.

use std::collections::{BTreeMap, BTreeSet};

use weft_kernel::nft::{Batch, Element, Exclusive, NftSocket, Set};
use weft_node::{Host, WeftError};
use weft_store::AttachmentRecord;

use super::compile::Structures;
use super::endpoint::Endpoint;
use super::members::refresh;
use super::rule::Rule;
use super::state::State;
use crate::ruleset::{
    self, CONNECTED, DESTINATION, ENDS4, ENDS6, HOME4, HOME6, IN_FORCE, KNOWN4, KNOWN6, NAT,
    Present, connection, element, is_member_set, member_set,
};

/// The owner of elements that belong to the rules and to no attachment.
pub const OWNER: &str = "weft policy";
/// How often a change is tried again when others keep changing the ruleset.
const ATTEMPTS: u32 = 50;
/// Far above the ids of the skeleton's sets, which are of another batch.
const FIRST_SET_ID: u32 = 1000;

/// Whether rules are in force.
pub(crate) fn is_anything_there(host: &mut Host) -> Result<bool, WeftError> {
    Ok(!host.nft()?.elements(&IN_FORCE)?.is_empty())
}

/// Whether exactly these rules are in force.
fn is_in_force(host: &mut Host, state: &State) -> Result<bool, WeftError> {
    // Without rules nothing is in force: not what was before, either.
    if state.is_empty() {
        return Ok(!is_anything_there(host)?);
    }
    let wanted = Element::new(state.digest().to_vec(), OWNER);
    Ok(host.nft()?.find(&IN_FORCE, &wanted)?.is_some())
}

/// Whether the rules there are are in force, and an attachment is a member of what they mean.
pub fn is_obeyed(host: &mut Host, record: &AttachmentRecord) -> Result<bool, WeftError> {
    let state = State::read(host)?;
    let is_right = !refresh(&mut record.clone(), &state.rules);
    Ok(is_right && is_in_force(host, &state)?)
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

/// The same in a table that may have some: what is there is emptied or, where nothing needs it, removed. The chains of
/// the skeleton are empty.
pub(crate) fn renew(state: &State, present: &Present, batch: &mut Batch) {
    let structures = Structures::of(&state.rules);
    let chains = empty_destinations(&present.chains, &structures, batch);
    let sets = present.sets.iter();
    for set in sets.filter_map(|name| member_set(name)) {
        match structures.sets.contains(&*set.name) {
            true => set.flush(batch),
            false => set.delete(batch),
        }
    }
    create(&structures, &present.sets, &chains, batch);
    for (set, elements) in &shared_elements(state) {
        set.add(elements, Exclusive::No, batch);
    }
}

/// Empties the chains of destinations that are there, and removes those that the rules no longer have. No rule jumps to
/// them any more. Those that were there.
fn empty_destinations(
    present: &BTreeSet<String>,
    structures: &Structures,
    batch: &mut Batch,
) -> BTreeSet<String> {
    let chain = |name: &String| weft_kernel::nft::Chain {
        table: NAT,
        name: name.clone().into(),
        base: None,
    };
    let there = present.iter().filter(|name| name.starts_with(DESTINATION));
    let there: BTreeSet<String> = there.cloned().collect();
    there.iter().for_each(|name| chain(name).flush(batch));
    let wanted: BTreeSet<&str> = structures
        .chains
        .iter()
        .map(|(one, _)| &*one.name)
        .collect();
    for name in there.iter().filter(|name| !wanted.contains(name.as_str())) {
        chain(name).delete(batch);
    }
    there
}

/// The sets of members that the rules need.
pub fn member_sets(state: &State) -> BTreeSet<String> {
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
        if let Some(set) = member_set(name).filter(|set| !sets.contains(&*set.name)) {
            set.create(id, batch);
        }
    }
    for (position, (chain, _)) in structures.chains.iter().enumerate() {
        if position > 0 && !chains.contains(&*chain.name) {
            chain.create(batch);
        }
    }
    for (chain, lines) in &structures.chains {
        for (parts, comment) in lines {
            chain.append_with_comment(parts, comment, batch);
        }
    }
}

/// What has come of putting rules in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reconciled {
    /// They are.
    InForce,
    /// Tables are missing, or are of an older Weft.
    TablesMissing,
}

/// Makes chains, sets and members what rules and endpoints say.
///
/// # Errors
/// The kernel's; [`WeftError::Conflict`] while others keep changing the ruleset.
pub(crate) fn reconcile(
    host: &mut Host,
    state: &State,
    endpoints: &[Endpoint<'_>],
) -> Result<Reconciled, WeftError> {
    let structures = Structures::of(&state.rules);
    let members = members_by_set(endpoints, &state.rules);
    for _ in 0..ATTEMPTS {
        let nft = host.nft()?;
        let generation = nft.generation()?;
        let mut batch = Batch::at_generation(generation);
        change(nft, state, &structures, &members, &mut batch)?;
        match nft.commit(&batch) {
            Ok(()) => return Ok(Reconciled::InForce),
            Err(error) if error.is_outdated() => {}
            Err(error) if error.is_absent() => return Ok(Reconciled::TablesMissing),
            Err(error) => return Err(error.into()),
        }
    }
    Err(WeftError::Conflict {
        key: "nft",
        name: "inet weft".to_owned(),
        why: format!("changed during each of {ATTEMPTS} attempts to put policies in force"),
    })
}

type Members = BTreeMap<String, BTreeMap<Vec<u8>, String>>;

/// The members of each set, by its key.
fn members_by_set(endpoints: &[Endpoint<'_>], rules: &[Rule]) -> Members {
    let mut members = Members::new();
    for endpoint in endpoints {
        let own = &endpoint.owner;
        for one in endpoint.memberships(rules) {
            if let Some((set, element)) = element(&one, own) {
                let set = members.entry(set.name.to_string()).or_default();
                set.entry(element.key).or_insert_with(|| own.clone());
            }
        }
    }
    members
}

/// What is to change.
fn change(
    nft: &mut NftSocket,
    state: &State,
    structures: &Structures,
    members: &Members,
    batch: &mut Batch,
) -> Result<(), WeftError> {
    let sets: BTreeSet<String> = nft
        .set_names(&NAT)?
        .into_iter()
        .filter(|name| is_member_set(name))
        .collect();
    let present: BTreeSet<String> = nft.chain_names(&NAT)?.into_iter().collect();
    ruleset::POLICY.flush(batch);
    let chains = empty_destinations(&present, structures, batch);
    create(structures, &sets, &chains, batch);
    for name in &sets {
        match member_set(name) {
            Some(set) if !structures.sets.contains(&*set.name) => set.delete(batch),
            _ => {}
        }
    }
    let none = BTreeMap::new();
    for name in &structures.sets {
        if let Some(set) = member_set(name) {
            let there = if sets.contains(&*set.name) {
                nft.elements(&set)?
            } else {
                Vec::new()
            };
            let wanted = members.get(&*set.name).unwrap_or(&none);
            difference(&set, &there, wanted, batch);
        }
    }
    for set in [KNOWN4, KNOWN6, HOME4, HOME6, ENDS4, ENDS6] {
        let there = nft.elements(&set)?;
        let wanted = members.get(&*set.name).unwrap_or(&none);
        difference(&set, &there, wanted, batch);
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
    Ok(())
}

fn difference(set: &Set, there: &[Element], wanted: &BTreeMap<Vec<u8>, String>, batch: &mut Batch) {
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
}
