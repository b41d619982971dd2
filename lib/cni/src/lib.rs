//! The Container Network Interface protocol, as a plugin and as a runtime speaks it.
//!
//! Pure: nothing here touches the kernel's network state or Weft's store. A plugin implements
//! [`Plugin`] and hands itself to [`run()`]; everything a specification sentence can be quoted for
//! (environment, versions, result shapes, error codes, delegation) happens in this crate, once.
//!
//! Source: CNI specification 1.1.0, <https://www.cni.dev/docs/spec/>.

pub mod args;
pub mod conf;
pub mod delegate;
pub mod env;
pub mod error;
mod family;
pub mod file;
pub mod id;
mod mac;
pub mod phases;
pub mod plugin;
pub mod result;
mod run;
pub mod runtime;
pub mod version;

pub use error::{CniError, Code};
pub use family::IpFamily;
pub use id::{AttachmentId, ContainerId, IfName, NetworkName};
pub use mac::{InvalidMac, Mac};
pub use plugin::{Declaration, Plugin, Request};
pub use result::CniResult;
pub use run::{Completed, refuse, run};
pub use version::SpecVersion;
