//! Settings of a container's interface and namespace that are put back when it goes.

use weft_kernel::link::{self, Change};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::{NetNs, sysctl};
use weft_node::{Container, Host, WeftError, namespaces};
use weft_store::{AttachmentRecord, StoreError, Transaction, TuningRecord};

use crate::sysctls::Sysctls;

/// The present values of parameters. One that does not exist is left out: those of an interface
/// that is still to be made, and which go with it.
pub fn originals(
    inside: &Container,
    sysctls: &Sysctls,
) -> Result<Vec<(String, String)>, WeftError> {
    if sysctls.is_empty() {
        return Ok(Vec::new());
    }
    inside.run(|| {
        sysctls
            .iter()
            .filter_map(|(name, _)| Some((name.to_owned(), sysctl::read(name).ok()?)))
            .collect()
    })
}

/// What another attachment of the container has changed before was something else at first: that is what is put
/// back by the last to go.
pub fn share_originals(
    transaction: &Transaction<'_>,
    record: &AttachmentRecord,
    tuning: &mut TuningRecord,
) -> Result<(), StoreError> {
    if tuning.sysctls.is_empty() {
        return Ok(());
    }
    for other in others(transaction, record)? {
        for (name, value) in &mut tuning.sysctls {
            let first = other.sysctls.iter().find(|(there, _)| there == name);
            if let Some((_, original)) = first {
                value.clone_from(original);
            }
        }
    }
    Ok(())
}

/// What other attachments in the same namespace have set, the last one first.
fn others(
    transaction: &Transaction<'_>,
    record: &AttachmentRecord,
) -> Result<Vec<TuningRecord>, StoreError> {
    let mut there = transaction.attachments_of_id(&record.id.container_id)?;
    there.retain(|one| one.id != record.id && one.is_beside(record));
    there.sort_by_key(|one| std::cmp::Reverse(one.created_at));
    Ok(there
        .iter()
        .filter_map(|one| one.settings().cloned())
        .collect())
}

/// The values that parameters are to have when an attachment goes: what another one in the namespace wants, else
/// what was there before.
fn values_after(host: &Host, record: &AttachmentRecord, tuning: &TuningRecord) -> TuningRecord {
    let mut after = tuning.clone();
    if after.sysctls.is_empty() {
        return after;
    }
    let others = host.store.read(|transaction| others(transaction, record));
    // A store that cannot be read keeps nothing from being put back.
    let others = others.unwrap_or_default();
    for (name, value) in &mut after.sysctls {
        let mut wanted = others.iter().flat_map(|one| &one.wanted_sysctls);
        if let Some((_, wanted)) = wanted.find(|(there, _)| there == name) {
            value.clone_from(wanted);
        }
    }
    after
}

/// Puts everything back that is still there to be put back. What a container did to its own
/// namespace since may keep something from it, but no attachment from being removed.
///
/// # Errors
/// The kernel's.
pub fn restore(
    host: &mut Host,
    record: &AttachmentRecord,
    tuning: &TuningRecord,
) -> Result<(), WeftError> {
    let mut errors = Vec::new();
    if let Some((name, mtu)) = &tuning.host_mtu
        && link::find(host.route()?, name)?.is_some_and(|link| link.mtu != *mtu)
    {
        let mut batch = Batch::new();
        let change = Change {
            mtu: Some(*mtu),
            ..Change::default()
        };
        change.apply(name, &mut batch);
        match host.route()?.commit(batch) {
            Err(error) if !error.is_absent() => errors.push(error.into()),
            _ => {}
        }
    }
    if let Some(netns) = record.netns.as_ref().and_then(namespaces::find) {
        let after = values_after(host, record, tuning);
        restore_inside(&netns, &after)?;
    }
    WeftError::collect("restoring what was tuned", errors)
}

fn restore_inside(netns: &NetNs, tuning: &TuningRecord) -> Result<(), WeftError> {
    let home = NetNs::current()?;
    let mut batch = Batch::new();
    let change = Change {
        mac: tuning.mac,
        mtu: tuning.mtu,
        tx_queue_len: tuning.tx_queue_len,
        promiscuous: tuning.promiscuous,
        all_multicast: tuning.all_multicast,
        ..Change::default()
    };
    change.apply(&tuning.ifname, &mut batch);
    if !batch.is_empty() {
        let mut socket = RouteSocket::open_in(netns, &home)?;
        if link::find(&mut socket, &tuning.ifname)?.is_some()
            && let Err(error) = socket.commit(batch)
        {
            tracing::warn!(%error, "not put back");
        }
    }
    netns.run(&home, || {
        for (name, before) in &tuning.sysctls {
            // What was there and is no more went with its interface.
            let is_other = sysctl::read(name).is_ok_and(|now| !sysctl::is_same(&now, before));
            if is_other && let Err(error) = sysctl::write(name, before) {
                tracing::warn!(%error, "not put back");
            }
        }
    })?;
    Ok(())
}
