//! The runtime's side of the protocol: lists of plugins, run in order, with a result cache.
//!
//! What libcni does for containerd and Podman, in the same file format, so that `weft cni` and the
//! tests drive any plugin exactly as a runtime would.

mod cache;
mod chain;
mod conflist;

pub use cache::{CachedAttachment, ResultCache};
pub use chain::{Network, Sandbox};
pub use conflist::{ConfList, configuration_files, load};
