//! Policies come into force: records, chains, sets and members in the kernel become what files and networks say.

use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, POLICY_LOCK, RULESET_LOCK, Sharing, StoreError};

use crate::policy::{self, Endpoint, Reconciled, State, refresh};
use crate::restore::restore_under_lock;

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
pub fn apply(host: &mut Host) -> Result<Applied, WeftError> {
    let _lock = host.store.named_lock(POLICY_LOCK, Sharing::Exclusive)?;
    let state = State::read(host)?;
    let changed = put_in_force(host, &state)?;
    let ended = policy::end_denied(host)?;
    Ok(Applied {
        rules: state.rules.len(),
        changed,
        ended,
    })
}

/// Returns how many records have changed.
fn put_in_force(host: &mut Host, state: &State) -> Result<usize, WeftError> {
    // Attachments that are being removed have gone from the records when their members are put in.
    let _lock = host.store.named_lock(RULESET_LOCK, Sharing::Exclusive)?;
    let changed = refresh_records(host, state)?;
    let records = host.attachments()?;
    let is_used = !state.is_empty() || records.iter().any(|record| !record.isolation.is_none());
    if !is_used && !policy::is_anything_there(host)? {
        return Ok(changed);
    }
    let endpoints: Vec<Endpoint<'_>> = records.iter().map(Endpoint::from).collect();
    match policy::reconcile(host, state, &endpoints)? {
        Reconciled::InForce => {}
        Reconciled::TablesMissing => restore_under_lock(host, None)?,
    }
    Ok(changed)
}

/// A closed network has no attachments any more: its own rules go with it.
pub fn forget_network(host: &mut Host, name: &str) -> Result<(), WeftError> {
    host.store
        .write(|transaction| transaction.remove_network(name))?;
    match apply(host) {
        // Files with mistakes keep no container from being removed; the rules in force stay until the files are
        // put right, and match no container of this network any more.
        Err(WeftError::Cni(error)) => {
            tracing::warn!(error = error.msg, "policies are not applied");
            Ok(())
        }
        outcome => outcome.map(drop),
    }
}

fn refresh_records(host: &Host, state: &State) -> Result<usize, WeftError> {
    let is_stale = |record: &AttachmentRecord| refresh(&mut record.clone(), &state.rules);
    if !host.attachments()?.iter().any(is_stale) {
        return Ok(0);
    }
    Ok(host.store.write(|transaction| {
        let mut changed = 0;
        for mut record in transaction.attachments()? {
            if refresh(&mut record, &state.rules) {
                transaction.replace_attachment(&record)?;
                changed += 1;
            }
        }
        Ok::<_, StoreError>(changed)
    })?)
}
