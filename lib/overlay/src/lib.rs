//! Overlays: networks of the same addresses on several hosts, by VXLAN (RFC 7348).
//!
//! A core without sockets and clocks. [`config`] is what the administrator wants, [`underlay`] what carries it,
//! [`exchange`] what the hosts tell each other, [`policy`] what is believed of it, [`desired`] which kernel objects all
//! that makes, and [`mod@plan`] which steps lead there from those that are seen.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod config;
pub mod desired;
pub mod exchange;
pub mod netplan;
pub mod nnetman;
pub mod object;
pub mod plan;
pub mod policy;
pub mod underlay;

pub use config::{Mode, Overlay, Overlays, Peer};
pub use object::{Key, Objects, Value};
pub use plan::{Step, plan};
