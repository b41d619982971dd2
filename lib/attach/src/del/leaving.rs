//! The end of a DEL: links, their elements, the connections, then the records; many at the price of one.
//!
//! Deleting a link waits for RCU grace periods, and a look at the connections walks the kernel's whole
//! table. A DEL that finds another one busy with that leaves a note and waits. The next one to get the
//! lock does it for all notes, in one deletion, one look and one transaction; a DEL whose note is gone is done.
//! Until a link is gone its elements stay: they guard what its container sends.
//!
//! Why it is so: docs/decisions/calls.md.

use std::collections::HashSet;

use weft_cni::AttachmentId;
use weft_firewall::connections;
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, LeavingNote, Noted, Transaction};

use super::idle;
use super::take_out::take_out;
use crate::steps::links::{self, DELETE_LOCK};

/// The links on the host of records whose attachments are ports.
pub(crate) fn ports_of(records: &[&AttachmentRecord]) -> Vec<String> {
    let ports = records.iter().filter_map(|record| record.link.port());
    ports.map(|port| port.name.clone()).collect()
}

/// Ends attachments of which everything else is gone. Their links are gone, and so are their records, when this
/// returns.
pub(crate) fn finish(host: &mut Host, records: &[&AttachmentRecord]) -> Result<(), WeftError> {
    let has_links = !links::present(host, &ports_of(records))?.is_empty();
    let has_idle = if !has_links && !host.store.has_leaving() {
        forget(host, records, &[])?
    } else if let Some(_lock) = host.store.named_lock_if_free(DELETE_LOCK)? {
        finish_all(host, records)?
    } else {
        match wait(host, records)? {
            Some(has_idle) => has_idle,
            None => return Ok(()),
        }
    };
    match has_idle {
        true => idle::remove_found(host),
        false => Ok(()),
    }
}

/// Waits with a note; none if it has been served. Whether it has to remove something shared.
fn wait(host: &mut Host, records: &[&AttachmentRecord]) -> Result<Option<bool>, WeftError> {
    let note = match host.store.note_leaving(records) {
        Ok(note) => Some(note),
        Err(error) => {
            tracing::warn!(%error, "DEL waits without a note");
            None
        }
    };
    let _lock = host.store.patient_lock(DELETE_LOCK)?;
    if note.as_ref().is_some_and(LeavingNote::is_served) {
        return Ok(None);
    }
    let has_idle = finish_all(host, records)?;
    if let Some(note) = note {
        note.remove()?;
    }
    Ok(Some(has_idle))
}

/// Ends what is noted, if no other DEL is about to: a DEL that was killed may have left it.
pub(crate) fn finish_left_over(host: &mut Host) -> Result<(), WeftError> {
    if !host.store.has_leaving() {
        return Ok(());
    }
    match host.store.named_lock_if_free(DELETE_LOCK)? {
        // The caller removes what is idle in the end.
        Some(_lock) => finish_all(host, &[]).map(drop),
        None => Ok(()),
    }
}

/// Ends one's own attachments and all that are noted. The delete lock is held. Returns whether
/// something shared is to be removed.
fn finish_all(host: &mut Host, own: &[&AttachmentRecord]) -> Result<bool, WeftError> {
    let noted = host.store.leaving();
    match end_noted(host, own, &noted) {
        // A fault of another DEL's attachment does not keep this one from its end; that DEL meets it.
        Err(error) if !own.is_empty() && !noted.is_empty() => {
            tracing::warn!(%error, "DEL ends its own attachment only");
            links::delete(host, &ports_of(own))?;
            forget(host, own, &[])
        }
        outcome => outcome,
    }
}

fn end_noted(
    host: &mut Host,
    own: &[&AttachmentRecord],
    noted: &[(LeavingNote, Vec<Noted>)],
) -> Result<bool, WeftError> {
    let recorded = still_recorded(host, noted)?;
    let there: Vec<&AttachmentRecord> = recorded.iter().collect();
    let ids: HashSet<&AttachmentId> = noted
        .iter()
        .flat_map(|(_, attachments)| attachments.iter().map(|one| &one.id))
        .collect();
    let own: Vec<&AttachmentRecord> = own
        .iter()
        .copied()
        .filter(|record| !ids.contains(&record.id))
        .collect();
    links::delete(host, &ports_of(&[own.as_slice(), &there].concat()))?;
    let has_idle = forget(host, &own, &there)?;
    for (note, _) in noted {
        note.remove()?;
    }
    Ok(has_idle)
}

/// The store's records of what is noted, as far as they are of the same ADD: a process that was killed may
/// have left a note that is done, and its addresses may be another's by now.
fn still_recorded(
    host: &Host,
    noted: &[(LeavingNote, Vec<Noted>)],
) -> Result<Vec<AttachmentRecord>, WeftError> {
    if noted.is_empty() {
        return Ok(Vec::new());
    }
    host.store.read(|transaction| {
        let mut there: Vec<AttachmentRecord> = Vec::new();
        for one in noted.iter().flat_map(|(_, attachments)| attachments) {
            let recorded = transaction.attachment(&one.id)?;
            if let Some(recorded) = recorded.filter(|recorded| one.is(recorded))
                && there.iter().all(|other| other.id != recorded.id)
            {
                there.push(recorded);
            }
        }
        Ok(there)
    })
}

/// Takes out the elements and ends the connections, after the links: nothing they send makes an entry
/// anew. Then the records go; those of others only if they have not been replaced meanwhile.
fn forget(
    host: &mut Host,
    own: &[&AttachmentRecord],
    others: &[&AttachmentRecord],
) -> Result<bool, WeftError> {
    let all = [own, others].concat();
    let known = all.iter().map(|record| (*record).clone()).collect();
    let named = |transaction: &Transaction<'_>| {
        let mut there = Vec::new();
        for record in &all {
            let recorded = transaction.attachment(&record.id)?;
            there.extend(recorded.filter(|recorded| recorded.is_of_same_add(record)));
        }
        Ok(there)
    };
    let end = |host: &mut Host| connections::end_of_gone(host, &all);
    take_out(host, known, &named, end, &|transaction| {
        for record in own {
            transaction.remove_attachment(&record.id)?;
        }
        for record in others {
            let recorded = transaction.attachment(&record.id)?;
            if recorded.is_some_and(|recorded| recorded.is_of_same_add(record)) {
                transaction.remove_attachment(&record.id)?;
            }
        }
        transaction.has_idle()
    })
}
