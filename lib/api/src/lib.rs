//! What Weft's processes tell each other and the world: the operations file, which every call adds a line to, the
//! daemon's sockets, and metrics in Prometheus' text format.
//!
//! Why it is so: docs/decisions/observing.md.

pub mod daemon;
pub mod exposition;
pub mod operations;
