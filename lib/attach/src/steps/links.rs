//! Deleting links, many at the price of one.
//!
//! Deleting a link waits for RCU grace periods, 15 to 20 ms, but the kernel deletes all links of a
//! group in one wait. So links are marked, then a lock is taken: its holder deletes whatever is marked by
//! then. How DELs share more than that is in `leaving`.
//!
//! Why it is so: docs/decisions/calls.md.

use weft_kernel::link;
use weft_kernel::netlink::Batch;
use weft_node::names::DELETION_GROUP;
use weft_node::{Host, WeftError};

/// Deletes one link by name, at once and by itself: what others may come to use again (a bridge)
/// must never be marked, because a mark outlives the process that made it.
pub(crate) fn delete_alone(host: &mut Host, name: &str) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    link::delete(name, &mut batch);
    match host.route()?.commit(batch) {
        Err(error) if !error.is_absent() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Held to delete the marked links, and to end what goes with them. Two hundred DELs that want sled at once
/// keep its holder waiting for seconds.
pub(crate) const DELETE_LOCK: &str = "delete";

/// Deletes links by name; absent ones are no error. They are gone when this returns.
pub(crate) fn delete(host: &mut Host, names: &[String]) -> Result<(), WeftError> {
    let marked = mark(host, names)?;
    if marked.is_empty() {
        return Ok(());
    }
    let _lock = host.store.patient_lock(DELETE_LOCK)?;
    let socket = host.route()?;
    for name in marked {
        if link::find(socket, name)?.is_some() {
            return delete_marked(host);
        }
    }
    Ok(())
}

/// Marks links for deletion and returns those that were there.
pub(crate) fn mark<'a>(host: &mut Host, names: &'a [String]) -> Result<Vec<&'a String>, WeftError> {
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
    Ok(marked)
}

/// Deletes every marked link. The delete lock is held.
pub(crate) fn delete_marked(host: &mut Host) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    link::delete_group(DELETION_GROUP, &mut batch);
    match host.route()?.commit(batch) {
        Err(error) if !error.is_absent() => Err(error.into()),
        _ => Ok(()),
    }
}
