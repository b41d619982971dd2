//! weft-warp: what a container sends goes through another one. The daemon uses the same parts for containers of Docker and
//! Podman.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

mod namespace;
mod sending;

pub use namespace::{Done, Namespace};
