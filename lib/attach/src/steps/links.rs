//! Deleting links, many at the price of one.
//!
//! Deleting a link waits for RCU grace periods, 15 to 20 ms, but the kernel deletes all links of a
//! group in one wait. So a DEL marks its link, then takes a lock: who gets it deletes whatever is
//! marked by then, and who finds its link gone is done.

use weft_kernel::link;
use weft_kernel::netlink::Batch;
use weft_store::Sharing;

use crate::error::AttachError;
use crate::host::Host;
use crate::names::DELETION_GROUP;

/// Deletes one link by name, at once and by itself: what others may come to use again (a bridge)
/// must never be marked, because a mark outlives the process that made it.
pub(crate) fn delete_alone(host: &mut Host, name: &str) -> Result<(), AttachError> {
    let mut batch = Batch::new();
    link::delete(name, &mut batch);
    match host.route()?.commit(batch) {
        Err(error) if !error.is_absent() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Deletes links by name; absent ones are no error. They are gone when this returns.
pub(crate) fn delete(host: &mut Host, names: &[String]) -> Result<(), AttachError> {
    let mut batch = Batch::new();
    for name in names {
        link::set_group(name, DELETION_GROUP, &mut batch);
    }
    let mut marked = Vec::new();
    for (name, outcome) in names.iter().zip(host.route()?.send_all(batch)?) {
        match outcome {
            Ok(()) => marked.push(name),
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if marked.is_empty() {
        return Ok(());
    }
    let _lock = host.store.named_lock("delete", Sharing::Exclusive)?;
    let socket = host.route()?;
    let mut is_there = false;
    for name in marked {
        is_there |= link::find(socket, name)?.is_some();
    }
    if !is_there {
        return Ok(());
    }
    let mut batch = Batch::new();
    link::delete_group(DELETION_GROUP, &mut batch);
    match socket.commit(batch) {
        Err(error) if !error.is_absent() => Err(error.into()),
        _ => Ok(()),
    }
}
