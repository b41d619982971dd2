//! Elements that are put back from the records while others take theirs out.
//!
//! A DEL takes its elements out first and forgets its record last. Who makes the tables anew, or puts
//! rules in force, in between finds the record and puts the elements back, which would then be nobody's.
//! No lock keeps the two apart, for DELs never stop on a busy host; each looks once more instead. Who
//! puts back counts that in the transaction in which it reads the records again, and takes out what has
//! lost its owner. Who forgets does it only if nobody has counted since it began, and else takes its
//! elements out again. Whichever of the two transactions comes second sees what the other one did.
//!
//! Who puts back and is killed before it has counted may leave elements to nobody: GC takes them out, and so
//! does who has the key next.

use std::collections::{BTreeMap, BTreeSet};

use weft_cni::AttachmentId;
use weft_kernel::nft::{Batch, Exclusive};
use weft_store::{AttachmentRecord, NftRecord, StoreError, Transaction};

use super::apply::SWAP_ATTEMPTS;
use super::by_set::BySet;
use super::elements::element;
use super::remove_elements;
use crate::error::AttachError;
use crate::host::Host;
use crate::names::owner;

/// After elements were put into the kernel from `records`: takes out those that no record has any more.
pub(crate) fn settle(host: &mut Host, records: &[AttachmentRecord]) -> Result<(), AttachError> {
    let mut left: BTreeMap<AttachmentId, AttachmentRecord> = BTreeMap::new();
    for store in std::iter::once(host.store.clone()).chain(host.store.siblings()) {
        let there = store.write(|transaction| {
            transaction.count_restoration()?;
            transaction.attachments()
        })?;
        left.extend(there.into_iter().map(|record| (record.id.clone(), record)));
    }
    let lost: Vec<AttachmentRecord> = records
        .iter()
        .filter_map(|before| without(before, left.get(&before.id)))
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    remove_elements(host, &lost.iter().collect::<Vec<_>>())?;
    give_back(host, &lost)
}

/// Who has come back to the same address while elements were taken out has found its own there, and added
/// none; but its record was written before it looked.
fn give_back(host: &mut Host, lost: &[AttachmentRecord]) -> Result<(), AttachError> {
    let now = host.all_attachments()?;
    for record in lost {
        let Some(back) = now.iter().find(|one| one.id == record.id) else {
            continue;
        };
        let mut batch = Batch::new();
        let there: BTreeSet<&NftRecord> = back.nft.iter().collect();
        let again = record.nft.iter().filter(|one| there.contains(one));
        let again = again.filter_map(|one| element(one, &owner(&record.id)));
        for (set, elements) in again.collect::<BySet>().iter() {
            set.add(elements, Exclusive::No, &mut batch);
        }
        host.nft()?.commit(&batch)?;
    }
    Ok(())
}

/// A record with only those elements that it has no more; none if it has all of them.
pub(crate) fn without(
    before: &AttachmentRecord,
    now: Option<&AttachmentRecord>,
) -> Option<AttachmentRecord> {
    let now = now.map_or(&[][..], |record| &record.nft);
    if before.nft == now {
        return None;
    }
    let now: BTreeSet<&NftRecord> = now.iter().collect();
    let mut lost = before.clone();
    lost.nft.retain(|element| !now.contains(element));
    (!lost.nft.is_empty()).then_some(lost)
}

/// Forgets, by `forget`, whose elements were taken out; `taken_out` reads them. Until this has been done
/// in a transaction before which nobody has put them back, they are taken out again.
pub(crate) fn forget<T>(
    host: &mut Host,
    taken_out: &dyn Fn(&Transaction<'_>) -> Result<Vec<AttachmentRecord>, StoreError>,
    forget: &dyn Fn(&mut Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, AttachError> {
    for _ in 0..SWAP_ATTEMPTS {
        let seen = host.restorations;
        let outcome = host.store.write(|transaction| {
            let count = transaction.restorations()?;
            if seen != Some(count) {
                let records = taken_out(transaction)?;
                if records.iter().any(|record| !record.nft.is_empty()) {
                    return Ok(Err((count, records)));
                }
            }
            forget(transaction).map(Ok)
        });
        match outcome.map_err(|error: StoreError| AttachError::from(error))? {
            Ok(done) => return Ok(done),
            Err((count, records)) => {
                host.restorations = Some(count);
                remove_elements(host, &records.iter().collect::<Vec<_>>())?;
            }
        }
    }
    Err(AttachError::Conflict {
        key: "nft",
        name: "inet weft".to_owned(),
        why: format!(
            "elements were put back during each of {SWAP_ATTEMPTS} attempts to remove them"
        ),
    })
}
