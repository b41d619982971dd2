//! What the tests stand on: hosts and containers as network namespaces that vanish with the test,
//! a caller that drives any plugin's executable, snapshots of a host's whole state, and kills at
//! exact system calls.
//!
//! For tests only, so it panics where a test should fail.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a failing helper is a failing test"
)]

mod at_end;
mod call;
mod container;
mod fault;
mod host;
mod ping;
mod require;
mod snapshot;
mod suite;

pub use at_end::AtEnd;
pub use call::{Call, Outcome};
pub use container::Container;
pub use fault::{SystemCall, kill_at, stopped_at, system_calls};
pub use host::{Host, Outside};
pub use require::{Feature, has, require};
pub use snapshot::HostState;
pub use suite::{Driver, Suite};
