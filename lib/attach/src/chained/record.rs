//! What chained plugins add to the record of an attachment that another plugin has made.

use weft_cni::{AttachmentId, Request};
use weft_node::{Host, WeftError, with_cleanup_failure};
use weft_store::{AttachmentRecord, LINKS_LOCK, NetnsRecord, Sharing, StoreError, Transaction};

use crate::del::{Target, idle, take_out};

/// A record for an interface that is not Weft's.
pub fn foreign(id: &AttachmentId, plugin: &str, netns: &NetnsRecord) -> AttachmentRecord {
    let mut record = AttachmentRecord::new(id.clone(), plugin);
    record.netns = Some(netns.clone());
    record
}

/// Whether a DEL of Weft's own interface plugin will follow, which ends the connections of all plugins in
/// one look: the kernel's list is long. Until then they only go on as they were.
pub fn ends_with_interface(record: &AttachmentRecord) -> bool {
    record.link.own().is_some() && !record.addresses.is_empty()
}

/// Whether there is nothing in a record that anybody but a chained plugin would have to remove.
fn is_empty(record: &AttachmentRecord) -> bool {
    record.link.own().is_none()
        && record.link.port().is_none()
        && record.addresses.is_empty()
        && record.nft.is_empty()
        && record.ports().is_empty()
        && record.shared.is_empty()
        && record.settings().is_none()
        && record.limits().is_none()
        && record.apart().is_none()
        && record.names().is_none()
        && record.warp().is_none()
        && record.delegate.is_none()
}

/// What the store says to a DEL of a chained plugin.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The records that it is about.
    pub records: Vec<AttachmentRecord>,
    /// A DEL that was killed has left something to be removed.
    pub has_idle: bool,
}

/// Looks into the store for a DEL of a chained plugin. One that cannot be read keeps no container from
/// being removed: nothing is known of what was added then.
pub fn recorded(host: &mut Host, request: &Request) -> Result<Recorded, WeftError> {
    let names = request.env.container()?;
    let target = Target::of(request, &names);
    let outcome = host.store.read(|transaction| {
        Ok(Recorded {
            records: target.records_in(transaction)?,
            // A closer look says why this cannot be told.
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

/// Takes something out of a record, a record away of which nothing is left, and what none shares any
/// more.
///
/// # Errors
/// The store's, and what could not be removed.
pub fn withdraw(
    host: &mut Host,
    id: &AttachmentId,
    take_out: &dyn Fn(&mut AttachmentRecord),
) -> Result<(), WeftError> {
    withdraw_after(
        host,
        AttachmentRecord::new(id.clone(), ""),
        |_| Ok(()),
        take_out,
    )
}

/// The same after the elements of `part` have gone, and what `more` removes.
fn withdraw_after(
    host: &mut Host,
    part: AttachmentRecord,
    more: impl FnOnce(&mut Host) -> Result<(), WeftError>,
    take_out: &dyn Fn(&mut AttachmentRecord),
) -> Result<(), WeftError> {
    let id = part.id.clone();
    // The elements that go, in the record as it is without them.
    let named = |transaction: &Transaction<'_>| {
        let Some(mut there) = transaction.attachment(&id)? else {
            return Ok(Vec::new());
        };
        let all = there.nft.clone();
        take_out(&mut there);
        let kept = std::mem::replace(&mut there.nft, all);
        there.nft.retain(|element| !kept.contains(element));
        Ok(vec![there])
    };
    let has_idle = take_out::take_out(host, vec![part], &named, more, &|transaction| {
        if let Some(mut left) = transaction.attachment(&id)? {
            take_out(&mut left);
            if is_empty(&left) {
                transaction.remove_attachment(&id)?;
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

/// Takes back a chained plugin's part of an attachment: its elements, what `more` removes, and then,
/// if nothing has failed, its part of the record. What remains is in the record for the next call.
pub fn take_back(
    host: &mut Host,
    part: &AttachmentRecord,
    more: impl FnOnce(&mut Host) -> Result<(), WeftError>,
    take_out: &dyn Fn(&mut AttachmentRecord),
) -> Result<(), WeftError> {
    withdraw_after(host, part.clone(), more, take_out)
}

/// The same after an ADD that has failed: what it has shared or made on the host goes as well.
pub fn undo(
    host: &mut Host,
    part: &AttachmentRecord,
    more: impl FnOnce(&mut Host) -> Result<(), WeftError>,
    take_out: &dyn Fn(&mut AttachmentRecord),
    error: WeftError,
) -> WeftError {
    let mut failures = Vec::new();
    failures.extend(take_back(host, part, more, take_out).err());
    if host.has_made_tables {
        match host.store.named_lock(LINKS_LOCK, Sharing::Exclusive) {
            Ok(_lock) => failures.extend(idle::remove_made_tables(host).err()),
            Err(error) => failures.push(error.into()),
        }
    }
    let failure = WeftError::collect("undoing a failed ADD", failures).err();
    with_cleanup_failure(error, failure)
}
