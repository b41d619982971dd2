//! What Weft's processes tell each other and the world: the operations file, which every call adds a line to, and
//! metrics in Prometheus' text format.
//!
//! Why it is so: docs/decisions/observing.md.

pub mod exposition;
pub mod operations;
