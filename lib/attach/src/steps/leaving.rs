//! The end of a DEL: links, then the connections, then the records; many at the price of one.
//!
//! Deleting a link waits for RCU grace periods, and a look at the connections walks the kernel's whole
//! table. A DEL that finds another one busy with that leaves a note and waits: who comes next does it
//! for all notes, in one deletion, one look and one transaction, and who finds its note gone is done.

use weft_store::{AttachmentRecord, LeavingNote, Sharing};

use super::{connections, idle, links};
use crate::error::AttachError;
use crate::host::Host;

/// Ends attachments of which everything else is gone. `names` are their links on the host. They are
/// gone, and so are their records, when this returns.
pub(crate) fn finish(
    host: &mut Host,
    records: &[&AttachmentRecord],
    names: &[String],
) -> Result<(), AttachError> {
    // The mark before the note: who reads the note deletes the marked links.
    let has_idle = if links::mark(host, names)?.is_empty() {
        let has_idle = forget(host, records)?;
        // An earlier DEL's, which was killed.
        if let Some(first) = records.first() {
            host.store.forget_leaving(&first.id)?;
        }
        has_idle
    } else if let Some(_lock) = host.store.named_lock_if_free(links::DELETE_LOCK)? {
        finish_all(host, records)?
    } else {
        // Without a note one waits, and then does it all the same.
        let note = host.store.note_leaving(records);
        let note = note.unwrap_or_else(|error| {
            tracing::warn!(%error, "DEL waits without a note");
            None
        });
        let lock = host
            .store
            .named_lock(links::DELETE_LOCK, Sharing::Exclusive)?;
        if note.is_some_and(|note| note.is_served()) {
            return Ok(());
        }
        let has_idle = finish_all(host, records)?;
        drop(lock);
        has_idle
    };
    match has_idle {
        true => idle::remove_found(host),
        false => Ok(()),
    }
}

/// What a DEL that was killed has noted, if nobody has come to it since.
pub(crate) fn finish_left_over(host: &mut Host) -> Result<(), AttachError> {
    if host.store.leaving().is_empty() {
        return Ok(());
    }
    let _lock = host
        .store
        .named_lock(links::DELETE_LOCK, Sharing::Exclusive)?;
    // GC removes what is idle in the end.
    finish_all(host, &[]).map(drop)
}

/// Ends one's own attachments and all that are noted. The delete lock is held. Returns whether
/// something shared is left to nobody.
fn finish_all(host: &mut Host, records: &[&AttachmentRecord]) -> Result<bool, AttachError> {
    let noted = host.store.leaving();
    links::delete_marked(host)?;
    let others = still_recorded(host, records, &noted)?;
    let all: Vec<&AttachmentRecord> = records.iter().copied().chain(others).collect();
    let has_idle = forget(host, &all)?;
    for (note, _) in &noted {
        note.remove()?;
    }
    Ok(has_idle)
}

/// The noted records of others that the store still has. A process that was killed may have left a note
/// that is done, and its addresses are somebody else's by now.
fn still_recorded<'a>(
    host: &Host,
    own: &[&AttachmentRecord],
    noted: &'a [(LeavingNote, Vec<AttachmentRecord>)],
) -> Result<Vec<&'a AttachmentRecord>, AttachError> {
    let mut others: Vec<&AttachmentRecord> = noted
        .iter()
        .flat_map(|(_, records)| records)
        .filter(|one| own.iter().all(|own| own.id != one.id))
        .collect();
    if others.is_empty() {
        return Ok(others);
    }
    host.store.read(|transaction| {
        let mut there = Vec::new();
        for one in others.drain(..) {
            let recorded = transaction.attachment(&one.id)?;
            if recorded.is_some_and(|recorded| recorded.is_of_same_add(one)) {
                there.push(one);
            }
        }
        Ok(there)
    })
}

/// Ends the connections, after the links: nothing they send makes an entry anew. Then the records go.
fn forget(host: &mut Host, records: &[&AttachmentRecord]) -> Result<bool, AttachError> {
    connections::end_of_gone(host, records)?;
    host.store.write(|transaction| {
        records
            .iter()
            .try_for_each(|record| transaction.remove_attachment(&record.id))?;
        Ok(!transaction.idle_objects()?.is_empty())
    })
}
