//! Settings of a container's interface and namespace that are put back when it goes.

use weft_kernel::link::{self, Change};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::{NetNs, sysctl};
use weft_store::{AttachmentRecord, TuningRecord};

use crate::error::AttachError;
use crate::host::{Container, Host};
use crate::namespaces;
use crate::sysctls::Sysctls;

/// The present values of parameters. One that does not exist is left out: those of an interface
/// that is still to be made, and which go with it.
pub(crate) fn originals(
    inside: &Container,
    sysctls: &Sysctls,
) -> Result<Vec<(String, String)>, AttachError> {
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

/// Puts everything back that is still there to be put back. What a container did to its own
/// namespace since may keep something from it, but nobody from being removed.
pub(crate) fn restore(host: &mut Host, record: &AttachmentRecord) -> Result<(), AttachError> {
    let Some(tuning) = &record.tuning else {
        return Ok(());
    };
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
        restore_inside(&netns, tuning)?;
    }
    AttachError::collect("restoring what was tuned", errors)
}

fn restore_inside(netns: &NetNs, tuning: &TuningRecord) -> Result<(), AttachError> {
    let home = NetNs::current()?;
    let mut batch = Batch::new();
    let change = Change {
        mac: tuning.mac.as_ref().and_then(|mac| mac.parse().ok()),
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
            let is_other = sysctl::read(name).is_ok_and(|now| now != *before);
            if is_other && let Err(error) = sysctl::write(name, before) {
                tracing::warn!(%error, "not put back");
            }
        }
    })?;
    Ok(())
}
