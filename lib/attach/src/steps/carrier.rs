//! When a container's port and its bridge begin to pass packets.
//!
//! They are up when the kernel's answer is there, but what follows the carrier is done by a kernel
//! worker that waits for its turn (net/core/link_watch.c). Until then the bridge takes nothing from the
//! port; and a bridge that has got its first port has no queue: what the host answers is dropped.
//!
//! Why it is so: docs/decisions/calls.md.

use std::time::{Duration, Instant};

use weft_kernel::link::{self, Link};
use weft_node::{Host, WeftError};

/// Waits until a port and its bridge pass packets, the port is gone, or patience is at its end.
///
/// # Errors
/// [`WeftError::Kernel`]: the kernel does not answer.
pub(crate) fn await_port(host: &mut Host, port: &str) -> Result<(), WeftError> {
    /// Enough for a kernel that is busy.
    const PATIENCE: Duration = Duration::from_secs(2);
    const FIRST_PAUSE: Duration = Duration::from_micros(250);
    const LONGEST_PAUSE: Duration = Duration::from_millis(4);
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    while !passes_packets(host, port)? && Instant::now() < deadline {
        std::thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    Ok(())
}

/// Also true of what is gone, and of a port that waits for the spanning tree: that may take half a minute.
fn passes_packets(host: &mut Host, port: &str) -> Result<bool, WeftError> {
    let socket = host.route()?;
    let Some(found) = link::find(socket, port)? else {
        return Ok(true);
    };
    let (true, Some(bridge)) = (found.is_operational, found.controller) else {
        return Ok(found.is_operational);
    };
    if found.port.is_some_and(|port| !port.is_forwarding) {
        return Ok(true);
    }
    let bridge: Option<Link> = link::find_index(socket, bridge)?;
    Ok(bridge.is_none_or(|bridge| bridge.is_operational))
}
