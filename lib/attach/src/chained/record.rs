//! What chained plugins add to the record of an attachment that another plugin has made.

use weft_cni::{AttachmentId, Request};
use weft_store::{AttachmentRecord, NetnsRecord, NftRecord, Sharing, StoreError, Transaction};

use crate::del::Target;
use crate::error::{AttachError, with_cleanup_failure};
use crate::host::Host;
use crate::ruleset;
use crate::steps::idle::{self, LINKS_LOCK};

/// A record for an interface that is not Weft's.
pub(crate) fn foreign(id: &AttachmentId, plugin: &str, netns: &NetnsRecord) -> AttachmentRecord {
    let mut record = AttachmentRecord::new(id.clone(), plugin);
    record.netns = Some(netns.clone());
    record
}

/// Whether a DEL of Weft's own interface plugin will follow, which ends the connections of all plugins in
/// one look: the kernel's list is long. Until then they only go on as they were.
pub(crate) fn ends_with_interface(record: &AttachmentRecord) -> bool {
    record.container_link.is_some() && !record.addresses.is_empty()
}

/// Whether there is nothing in a record that anybody but a chained plugin would have to remove.
fn is_empty(record: &AttachmentRecord) -> bool {
    record.container_link.is_none()
        && record.host_links.is_empty()
        && record.addresses.is_empty()
        && record.nft.is_empty()
        && record.ports.is_empty()
        && record.shared.is_empty()
        && record.tuning.is_none()
        && record.bandwidth.is_none()
        && record.firewall.is_none()
        && record.delegate.is_none()
}

/// What the store says to a DEL of a chained plugin.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// The records that it is about.
    pub(crate) records: Vec<AttachmentRecord>,
    /// A DEL that was killed has left something to be removed.
    pub(crate) has_idle: bool,
}

/// Looks into the store for a DEL of a chained plugin. One that cannot be read keeps no container from
/// being removed: nothing is known of what was added then.
pub(crate) fn recorded(host: &mut Host, request: &Request) -> Result<Recorded, AttachError> {
    let names = request.env.container()?;
    let target = Target::of(request, &names);
    let outcome = host.read_to_remove(|transaction| {
        Ok(Recorded {
            records: target.records_in(transaction)?,
            // Who looks closer says why this cannot be told.
            has_idle: transaction.has_idle().unwrap_or(true),
        })
    });
    match outcome {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::warn!(%error, "DEL without the store: weft store rebuild mends it");
            Ok(Recorded::default())
        }
        outcome => Ok(outcome?),
    }
}

/// Takes something out of a record, a record away of which nothing is left, and what nobody shares any
/// more.
pub(crate) fn withdraw(
    host: &mut Host,
    id: &AttachmentId,
    take_out: &dyn Fn(&mut AttachmentRecord),
) -> Result<(), AttachError> {
    let left = |record: &AttachmentRecord| {
        let mut left = record.clone();
        take_out(&mut left);
        left
    };
    let taken_out = |transaction: &Transaction<'_>| {
        let there = transaction.attachment(id)?;
        let part = there.and_then(|there| ruleset::without(&there, Some(&left(&there))));
        Ok(part.into_iter().collect())
    };
    let has_idle = ruleset::forget(host, &taken_out, &|transaction| {
        if let Some(there) = transaction.attachment(id)? {
            let left = left(&there);
            if is_empty(&left) {
                transaction.remove_attachment(id)?;
            } else {
                transaction.replace_attachment(&left)?;
            }
        }
        transaction.has_idle()
    })?;
    if has_idle {
        idle::remove_found(host)?;
    }
    Ok(())
}

/// Takes a chained plugin's parts out of the records that a DEL is about, in one look at the store, where they
/// are nowhere else: `elements` of each record that has a part are none, and the rest ends with the interface.
/// Otherwise, or if there is no part, this returns false and has changed nothing.
pub(crate) fn take_out_at_once(
    host: &mut Host,
    request: &Request,
    elements: &dyn Fn(&AttachmentRecord) -> Option<&[NftRecord]>,
    take_out: &dyn Fn(&mut AttachmentRecord),
) -> Result<bool, AttachError> {
    // Writing, to one of another boot too, would make one.
    if !host.store.path().exists() {
        return Ok(false);
    }
    let names = request.env.container()?;
    let target = Target::of(request, &names);
    let outcome = host.store.write(|transaction| {
        let mut records = target.records_in(transaction)?;
        let mut parts = records.iter().filter_map(elements).peekable();
        let has_part = parts.peek().is_some();
        if !has_part || !parts.all(<[_]>::is_empty) || !records.iter().all(ends_with_interface) {
            return Ok(None);
        }
        for record in &mut records {
            take_out(record);
            transaction.replace_attachment(record)?;
        }
        Ok::<_, StoreError>(Some(transaction.has_idle()?))
    });
    match outcome {
        Ok(Some(has_idle)) => {
            if has_idle {
                idle::remove_found(host)?;
            }
            Ok(true)
        }
        // Who goes on without it says so.
        Ok(None) | Err(StoreError::Damaged { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes back a chained plugin's part of an attachment: its elements, what `more` removes, and then,
/// if nothing has failed, its part of the record. What remains is in the record for the next call.
pub(crate) fn take_back(
    host: &mut Host,
    part: &AttachmentRecord,
    more: impl FnOnce(&mut Host) -> Result<(), AttachError>,
    take_out: &dyn Fn(&mut AttachmentRecord),
) -> Result<(), AttachError> {
    let mut errors = Vec::new();
    errors.extend(ruleset::remove_elements(host, &[part]).err());
    errors.extend(more(host).err());
    if errors.is_empty() {
        errors.extend(withdraw(host, &part.id, take_out).err());
    }
    AttachError::collect("taking back what was added", errors)
}

/// The same after an ADD that has failed: what it has shared or made on the host goes as well.
pub(crate) fn undo(
    host: &mut Host,
    part: &AttachmentRecord,
    more: impl FnOnce(&mut Host) -> Result<(), AttachError>,
    take_out: &dyn Fn(&mut AttachmentRecord),
    error: AttachError,
) -> AttachError {
    let mut failures = Vec::new();
    failures.extend(take_back(host, part, more, take_out).err());
    if host.has_made_tables {
        match host.store.named_lock(LINKS_LOCK, Sharing::Exclusive) {
            Ok(_lock) => failures.extend(idle::remove_made_tables(host).err()),
            Err(error) => failures.push(error.into()),
        }
    }
    let failure = AttachError::collect("undoing a failed ADD", failures).err();
    with_cleanup_failure(error, failure)
}
