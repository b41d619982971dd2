//! Results: what an ADD prints, in the shape of any version.
//!
//! In memory there is one form, that of the newest version; [`CniResult::to_value`] and
//! [`CniResult::from_value`] translate to and from the older ones.

mod convert;
mod read;
mod types;

pub use types::{CniResult, Dns, Interface, IpConfig, Route};
