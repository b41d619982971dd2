//! What is closed to whom: Weft's nf_tables ruleset, the policies that open it, and what the rulesets of
//! others do to the same packets.

mod apply;
pub mod connections;
pub mod differences;
pub mod foreign;
pub mod policy;
mod restore;
pub mod ruleset;

pub use apply::{Applied, apply, forget_network};
pub use restore::{add_elements, build, rebuild, restore};
