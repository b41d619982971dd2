//! Letting the host's own packets to 127.0.0.1 leave by an interface: published ports on localhost.

use weft_kernel::link::{self, Change};
use weft_kernel::netlink::Batch;
use weft_node::{Host, WeftError};

/// Whether an interface lets them.
pub fn is_on(host: &mut Host, name: &str) -> Result<bool, WeftError> {
    let there = link::find(host.route()?, name)?;
    Ok(there.is_some_and(|link| link.routes_localnet))
}

/// Switches it. An interface that is gone took its setting with it.
pub fn switch(host: &mut Host, name: &str, on: bool) -> Result<(), WeftError> {
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
