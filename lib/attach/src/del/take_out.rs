//! Elements leave the kernel first, then the records that name them.

use std::collections::BTreeSet;

use weft_cni::phases::{Phase, measure};
use weft_firewall::ruleset;
use weft_node::{Host, WeftError};
use weft_store::{
    AttachmentRecord, FileLock, NftRecord, RULESET_LOCK, Sharing, StoreError, Transaction,
};

/// How often a record is found with elements that it did not have before. Under the lock nothing adds any.
const ATTEMPTS: u32 = 3;

/// Removes elements from the kernel, does what has to come `between`, and then changes the records by
/// `forget`. `known` are the elements, in records as they were read before; `named` reads them again in the
/// transaction that forgets. Policies may have made an attachment a member of more meanwhile: then that is
/// taken out as well, first.
///
/// The ruleset lock is held shared until it is done, so nothing puts them back from the records.
///
/// # Errors
/// The stores' and the kernel's; the records name all that is left.
pub(crate) fn take_out<T>(
    host: &mut Host,
    known: Vec<AttachmentRecord>,
    named: &dyn Fn(&Transaction<'_>) -> Result<Vec<AttachmentRecord>, StoreError>,
    between: impl FnOnce(&mut Host) -> Result<(), WeftError>,
    forget: &dyn Fn(&mut Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, WeftError> {
    let mut lock = None;
    // Neither keeps the other from being done.
    let outcomes = [remove(host, &known, &mut lock), between(host)];
    let errors = outcomes.into_iter().filter_map(Result::err).collect();
    WeftError::collect("taking back what was added", errors)?;
    let mut removed = known;
    for _ in 0..ATTEMPTS {
        let outcome = measure(Phase::Address, || {
            host.store.write(|transaction| {
                let missed: Vec<AttachmentRecord> = named(transaction)?
                    .iter()
                    .filter_map(|now| without(now, &removed))
                    .collect();
                if missed.is_empty() {
                    return forget(transaction).map(Ok);
                }
                Ok::<_, StoreError>(Err(missed))
            })
        });
        match outcome? {
            Ok(done) => return Ok(done),
            Err(missed) => {
                remove(host, &missed, &mut lock)?;
                removed.extend(missed);
            }
        }
    }
    Err(WeftError::Conflict {
        key: "nft",
        name: "inet weft".to_owned(),
        why: format!("elements were added during each of {ATTEMPTS} attempts to remove them"),
    })
}

fn remove(
    host: &mut Host,
    records: &[AttachmentRecord],
    lock: &mut Option<FileLock>,
) -> Result<(), WeftError> {
    if records.iter().all(|record| record.nft.is_empty()) {
        return Ok(());
    }
    if lock.is_none() {
        *lock = Some(host.store.named_lock(RULESET_LOCK, Sharing::Shared)?);
    }
    ruleset::remove_elements(host, &records.iter().collect::<Vec<_>>())
}

/// A record with only those of its elements that were not removed; none if all were.
fn without(now: &AttachmentRecord, removed: &[AttachmentRecord]) -> Option<AttachmentRecord> {
    let mut own = removed.iter().filter(|one| one.id == now.id).peekable();
    if now.nft.is_empty() || own.peek().is_some_and(|one| one.nft == now.nft) {
        return None;
    }
    let own: BTreeSet<&NftRecord> = own.flat_map(|one| &one.nft).collect();
    let mut left = now.clone();
    left.nft.retain(|element| !own.contains(element));
    (!left.nft.is_empty()).then_some(left)
}
