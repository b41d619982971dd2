//! This machine as Weft sees it: its store, its sockets, network namespaces, names that derive from an
//! attachment's identity, and the one error type of everything that is done to it.

pub mod default_route;
mod error;
mod host;
pub mod names;
pub mod namespaces;

pub use error::{Users, WeftError, with_cleanup_failure};
pub use host::{Container, Host};
