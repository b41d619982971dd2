//! Deleting links, many at the price of one.
//!
//! Deleting a link waits for RCU grace periods, 15 to 20 ms, but the kernel deletes all links of a
//! group in one wait. The group is a random number that is made for one deletion: whatever number a container or an
//! administrator has given to another interface, it is not this one. How DELs share a deletion is in `leaving`.
//!
//! Why it is so: docs/decisions/calls.md.

use weft_cni::phases::{Phase, measure};
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::Batch;
use weft_node::{Host, WeftError};

/// Deletes one link by name, at once and by itself: what others may come to use again (a bridge)
/// must never be marked, because a mark outlives the process that made it.
pub(crate) fn delete_alone(host: &mut Host, name: &str) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    link::delete(name, &mut batch);
    committed(host, batch)
}

/// Held to delete the links of DELs, and to end what goes with them. Two hundred DELs that want sled at once
/// keep its holder waiting for seconds.
pub(crate) const DELETE_LOCK: &str = "delete";

/// Those of the names that are host ends of Weft's pairs. Another interface that has got such a name (hardware that
/// came back from a container that renamed it) is not Weft's to delete.
pub(crate) fn present(host: &mut Host, names: &[String]) -> Result<Vec<Link>, WeftError> {
    let mut there = Vec::new();
    for name in names {
        let found = link::find(host.route()?, name)?;
        match found {
            Some(found) if found.kind.as_deref() == Some("veth") => there.push(found),
            Some(_) => tracing::warn!(
                name,
                "an interface that is no pair has the name of a container's link: it stays"
            ),
            None => {}
        }
    }
    Ok(there)
}

/// Deletes links by name; absent ones are no error. They are gone when this returns.
pub(crate) fn delete(host: &mut Host, names: &[String]) -> Result<(), WeftError> {
    measure(Phase::Bridge, || delete_all(host, names))
}

fn delete_all(host: &mut Host, names: &[String]) -> Result<(), WeftError> {
    let links = present(host, names)?;
    let mut batch = Batch::new();
    let group = match links.as_slice() {
        [] => return Ok(()),
        [one] => {
            link::delete_index(one.index, &mut batch);
            return committed(host, batch);
        }
        _ => fresh_group(),
    };
    for link in &links {
        link::set_group(link.index, group, &mut batch);
    }
    host.route()?.send_all(batch)?;
    let mut batch = Batch::new();
    link::delete_group(group, &mut batch);
    match host.route()?.commit(batch) {
        // One that cannot be deleted keeps the others: each by itself.
        Err(error) if !error.is_absent() => {
            tracing::warn!(%error, "links are deleted one by one");
            let mut errors = Vec::new();
            for one in &links {
                let mut batch = Batch::new();
                link::delete_index(one.index, &mut batch);
                errors.extend(committed(host, batch).err());
            }
            WeftError::collect("deleting links", errors)
        }
        _ => Ok(()),
    }
}

fn committed(host: &mut Host, batch: Batch) -> Result<(), WeftError> {
    match host.route()?.commit(batch) {
        Err(error) if !error.is_absent() => Err(error.into()),
        _ => Ok(()),
    }
}

/// A group that no link is in.
fn fresh_group() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    // The keys of a new RandomState come from the kernel; the upper half is nobody's by hand.
    let [a, b, c, d, ..] = RandomState::new()
        .hash_one(std::process::id())
        .to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d]) | 0x8000_0000
}
