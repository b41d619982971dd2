//! Network configuration: what arrives on standard input.
//!
//! [`NetConf`] is the specification's part; a plugin reads its own keys from the same object with
//! a [`Fields`] reader over its table of [`KeySpec`]s, which is also what the reference page of
//! configuration keys is made from.

mod fields;
mod netconf;
mod problem;

pub use fields::{Fields, KeySpec, KeyTable, Path};
pub use netconf::{NetConf, SPEC_KEYS, ValidAttachments};
pub use problem::Problems;
