//! How long the parts of a verb take: measured where they happen, collected by [`crate::run()`].

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// A part of a verb, as the operations file names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Leasing addresses and writing the record.
    Address,
    /// Rules of nf_tables that close the network or check frames.
    Firewall,
    /// Rules of nf_tables that translate addresses and ports.
    Nat,
    /// Both in one message to the kernel.
    FirewallAndNat,
    /// The bridge, the pair of interfaces, addresses and routes.
    Bridge,
    /// The same of other kinds of interface.
    Link,
    /// Resolver settings of the result.
    Dns,
    /// Settings of a chained plugin.
    Settings,
}

impl Phase {
    /// The name in the operations file and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Firewall => "firewall",
            Self::Nat => "nat",
            Self::FirewallAndNat => "firewall+nat",
            Self::Bridge => "bridge",
            Self::Link => "link",
            Self::Dns => "dns",
            Self::Settings => "settings",
        }
    }
}

thread_local! {
    static MEASURED: RefCell<Vec<(Phase, Duration)>> = const { RefCell::new(Vec::new()) };
    /// How many parts are being measured, one within the other.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// A part that is being measured; also a panic ends it.
struct Running;

impl Running {
    fn new() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

/// Does something that is a part of the verb. A part of a part is not counted by itself.
pub fn measure<T>(phase: Phase, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let running = Running::new();
    let outcome = work();
    drop(running);
    if DEPTH.get() == 0 {
        let duration = start.elapsed();
        MEASURED.with_borrow_mut(|measured| {
            match measured.iter_mut().find(|(name, _)| *name == phase) {
                Some((_, sum)) => *sum += duration,
                None => measured.push((phase, duration)),
            }
        });
    }
    outcome
}

/// What has been measured on this thread since the last call, in the order in which the parts first ended.
pub fn take() -> Vec<(Phase, Duration)> {
    MEASURED.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_in_order_and_repeated_ones_add_up() {
        measure(Phase::Firewall, || ());
        let slow = || std::thread::sleep(Duration::from_millis(20));
        measure(Phase::Bridge, || measure(Phase::Firewall, slow));
        measure(Phase::Firewall, || {
            std::thread::sleep(Duration::from_millis(2));
        });
        let taken = take();
        let names: Vec<_> = taken.iter().map(|(phase, _)| phase.name()).collect();
        assert_eq!(names, ["firewall", "bridge"]);
        assert!(taken[0].1 >= Duration::from_millis(2) && taken[0].1 < Duration::from_millis(20));
        assert!(taken[1].1 >= Duration::from_millis(20));
        assert!(take().is_empty());
    }
}
