//! What is closed to whom: Weft's nf_tables ruleset, the policies that open it, and what the rulesets of
//! others do to the same packets.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod apply;
pub mod connections;
pub mod differences;
pub mod foreign;
pub mod policy;
mod restore;
pub mod ruleset;

pub use apply::{Applied, apply, forget_network};
pub use restore::{add_elements, build, rebuild, restore};
