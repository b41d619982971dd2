//! Letting the host's own packets to 127.0.0.1 leave by an interface: published ports on localhost.
//!
//! The setting lets neighbours in the other way too. Rules of nf_tables keep them out, and count; a filter where packets
//! come in does it when those are flushed.

use weft_kernel::ingress;
use weft_kernel::link::{self, Change};
use weft_kernel::netlink::Batch;
use weft_node::{Host, WeftError};

/// Whether an interface lets them.
pub fn is_on(host: &mut Host, name: &str) -> Result<bool, WeftError> {
    let there = link::find(host.route()?, name)?;
    Ok(there.is_some_and(|link| link.routes_localnet))
}

/// What keeps neighbours from using it, while it is on, also when the ruleset is flushed. A kernel that lacks such
/// filters has the rules alone.
fn guard(host: &mut Host, name: &str, on: bool) -> Result<(), WeftError> {
    let socket = host.route()?;
    let Some(there) = link::find(socket, name)? else {
        return Ok(());
    };
    match on {
        false => Ok(ingress::allow_loopback(socket, there.index)?),
        true if ingress::drops_loopback(socket, there.index)? => Ok(()),
        true => {
            if let Err(error) = ingress::drop_loopback(socket, there.index) {
                tracing::info!(%error, "127.0.0.0/8 is guarded by the ruleset alone on {name}");
            }
            Ok(())
        }
    }
}

/// Switches it. An interface that is gone took its setting with it.
pub fn switch(host: &mut Host, name: &str, on: bool) -> Result<(), WeftError> {
    // Where it is on it has its guard, or the kernel has none.
    if on && !is_on(host, name)? {
        guard(host, name, true)?;
    }
    let mut batch = Batch::new();
    let change = Change {
        routes_localnet: Some(on),
        ..Change::default()
    };
    change.apply(name, &mut batch);
    match host.route()?.commit(batch) {
        Err(error) if error.is_absent() && !on => return Ok(()),
        outcome => outcome?,
    }
    match on {
        true => Ok(()),
        false => guard(host, name, false),
    }
}
