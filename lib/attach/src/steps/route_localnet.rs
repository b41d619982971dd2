//! Letting the host's own packets to 127.0.0.1 leave by an interface: published ports on localhost.

use weft_kernel::link::{self, Change};
use weft_kernel::netlink::Batch;

use crate::error::AttachError;
use crate::host::Host;

/// Whether an interface lets them.
pub(crate) fn is_on(host: &mut Host, name: &str) -> Result<bool, AttachError> {
    let there = link::find(host.route()?, name)?;
    Ok(there.is_some_and(|link| link.routes_localnet))
}

/// Switches it. An interface that is gone took its setting with it.
pub(crate) fn switch(host: &mut Host, name: &str, on: bool) -> Result<(), AttachError> {
    let mut batch = Batch::new();
    let change = Change {
        routes_localnet: Some(on),
        ..Change::default()
    };
    change.apply(name, &mut batch);
    match host.route()?.commit(batch) {
        Err(error) if error.is_absent() && !on => Ok(()),
        outcome => Ok(outcome?),
    }
}
