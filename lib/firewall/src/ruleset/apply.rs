//! Bringing tables and elements into the kernel.

use std::collections::{BTreeMap, BTreeSet};

use weft_kernel::KernelError;
use weft_kernel::nft::{Batch, Element, Exclusive, NftSocket, Set, Table};
use weft_node::names::{network_owner, owner};
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, NftRecord};

use super::by_set::BySet;
use super::elements::{element, record_of};
use super::isolation::USER_PRE;
use super::skeleton::{Present, is_weft, sets};
use super::tables::{NAT, TABLES, member_set};

/// How often a compare-and-swap is repeated when others keep changing the ruleset.
pub(crate) const SWAP_ATTEMPTS: u32 = 50;

/// The elements that a record shares with others of its network.
fn shared_elements(record: &AttachmentRecord) -> impl Iterator<Item = (Set, Element)> {
    let network = network_owner(&record.id.network);
    let shared = record.shared.iter();
    shared.filter_map(move |object| element(object.nft_element()?, &network))
}

/// The elements of a record, its network's included, with whether each must be the first.
pub(crate) fn elements_of(
    record: &AttachmentRecord,
) -> impl Iterator<Item = (Set, Element, Exclusive)> {
    let own = owner(&record.id);
    let mine = record.nft.iter().filter_map(move |one| element(one, &own));
    mine.map(|(set, element)| (set, element, Exclusive::Yes))
        .chain(shared_elements(record).map(|(set, element)| (set, element, Exclusive::No)))
}

/// What has become of elements that were to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The kernel has them.
    All,
    /// Tables or sets are missing; some of them may have been added.
    TablesMissing,
}

/// Adds the elements of a record. Nothing is ever deleted or flushed here, except an element that a
/// lost attachment left on the same key.
///
/// # Errors
/// [`WeftError::Conflict`] if a key is that of an attachment that lives, and the kernel's.
pub fn add_elements(host: &mut Host, record: &AttachmentRecord) -> Result<Added, WeftError> {
    let mut own = BySet::default();
    own.add_records(&record.nft, &owner(&record.id));
    let network: Vec<(Set, Element)> = shared_elements(record).collect();
    if own.is_empty() && network.is_empty() {
        return Ok(Added::All);
    }
    let mut batch = Batch::new();
    for (set, elements) in own.iter() {
        set.add(elements, Exclusive::Yes, &mut batch);
    }
    match host.nft()?.commit(&batch) {
        Ok(()) => {}
        Err(error) if error.is_absent() => return Ok(Added::TablesMissing),
        Err(error) if error.is_present() => replace(host, &own)?,
        Err(error) => return Err(error.into()),
    }
    for (set, element) in &network {
        match add_interval(host.nft()?, set, element) {
            Err(error) if error.is_absent() => return Ok(Added::TablesMissing),
            outcome => outcome?,
        }
    }
    Ok(Added::All)
}

/// Adds an element of an interval set, unless it is there: changing such a set is not O(1). The
/// kernel holds no overlapping intervals (of networks whose subnets overlap, or whose exclusions
/// changed): the older one stays then, and CHECK says that the younger is missing.
pub(crate) fn add_interval(
    nft: &mut NftSocket,
    set: &Set,
    element: &Element,
) -> Result<(), KernelError> {
    let mut batch = Batch::new();
    let there = nft.find(set, element)?;
    match there.filter(|there| is_same(there, element)) {
        Some(there) if there.value == element.value => return Ok(()),
        // The mode that the bridge had for attachments that are gone.
        Some(there) => set.remove(std::slice::from_ref(&there), &mut batch),
        None => {}
    }
    set.add(std::slice::from_ref(element), Exclusive::No, &mut batch);
    match nft.commit(&batch) {
        Err(error) if error.is_present() => {
            tracing::warn!(
                set = &*set.name,
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

/// Whether the administrator has put something into a table of Weft's: rules into the chain that is theirs, or sets
/// and chains of their own.
fn has_administrators(nft: &mut NftSocket) -> Result<bool, WeftError> {
    let rules = nft.rules(&NAT)?;
    if rules.iter().any(|rule| rule.chain == USER_PRE.name) {
        return Ok(true);
    }
    for table in TABLES {
        if Present::read(nft, &table)?.has_foreign(&table) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses a table that has the name of Weft's and was made by somebody else. Whether there is one of Weft's.
pub(crate) fn require_weft(nft: &mut NftSocket, table: &Table) -> Result<bool, WeftError> {
    match nft.user_data(table)? {
        None => Ok(false),
        Some(data) if is_weft(&data) => Ok(true),
        Some(_) => Err(WeftError::Conflict {
            key: "nft",
            name: format!("table {} {}", table.family.as_str(), table.name),
            why: "is not one that Weft has made: rename it; Weft needs the name".to_owned(),
        }),
    }
}

/// A key is taken. If its owner is an attachment that is no more, its element goes and ours comes,
/// in one batch; the address of a living one cannot be shared.
fn replace(host: &mut Host, wanted: &BySet) -> Result<(), WeftError> {
    let records = host.attachments()?;
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
                return Err(WeftError::Conflict {
                    key: "nft",
                    name: format!("an address or port in set {}", set.name),
                    why: format!(
                        "is that of {} already: give the networks different subnets, the \
                         containers different ports",
                        holder.id
                    ),
                });
            }
            // Everything was put back meanwhile, this too.
            if there.owner == element.owner && there.value == element.value {
                continue;
            }
            tracing::warn!(
                owner = &*there.owner,
                set = &*set.name,
                "stale nft element replaced"
            );
            set.remove(std::slice::from_ref(element), &mut batch);
        }
        set.add(std::slice::from_ref(element), Exclusive::No, &mut batch);
    }
    Ok(nft.commit(&batch)?)
}

/// Whether the kernel has the element with this owner.
pub fn element_is_right(
    host: &mut Host,
    record: &NftRecord,
    owner: Option<&str>,
) -> Result<bool, WeftError> {
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
/// Where the administrator has put something into them, everything stays, and so does what Weft has not made. Whether
/// the tables are gone.
pub fn delete_tables(host: &mut Host) -> Result<bool, WeftError> {
    let nft = host.nft()?;
    for table in TABLES {
        if nft.user_data(&table)?.is_some_and(|data| !is_weft(&data)) {
            return Ok(false);
        }
    }
    if has_administrators(nft)? {
        return Ok(false);
    }
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
pub fn all_sets(nft: &mut NftSocket) -> Result<Vec<Set>, WeftError> {
    let names = nft.set_names(&NAT)?;
    let members = names.iter().filter_map(|name| member_set(name));
    Ok(sets().chain(members).collect())
}

/// The owners of all elements.
pub fn owners(host: &mut Host) -> Result<BTreeSet<String>, WeftError> {
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
pub fn records_by_owner(host: &mut Host) -> Result<BTreeMap<String, Vec<NftRecord>>, WeftError> {
    let nft = host.nft()?;
    let mut records: BTreeMap<String, Vec<NftRecord>> = BTreeMap::new();
    for set in all_sets(nft)? {
        for element in nft.elements(&set)? {
            let record = record_of(&set, &element);
            records
                .entry(element.owner.to_string())
                .or_default()
                .push(record);
        }
    }
    Ok(records)
}
