//! From what went wrong to the error a runtime gets: one total map.

use weft_cni::{AttachmentId, CniError, Code};
use weft_kernel::KernelError;
use weft_kernel::child::ChildKind;
use weft_store::{SharedObject, StoreError};

/// Why an attachment could not be made, checked or removed.
#[derive(Debug, thiserror::Error)]
pub enum WeftError {
    /// A netlink request or a file of the kernel's failed.
    #[error("{}", .0.full_text())]
    Kernel(#[from] KernelError),
    /// The store, its files or its lock.
    #[error("{}", .0.full_text())]
    Store(#[from] StoreError),
    /// The protocol, or another plugin.
    #[error("{0}")]
    Cni(#[from] CniError),
    /// `CNI_NETNS` is the plugin's own namespace.
    #[error("CNI_NETNS: {path} is the network namespace the plugin runs in")]
    OwnNetns {
        /// As `CNI_NETNS` has it.
        path: String,
    },
    /// The interface name is taken.
    #[error("CNI_IFNAME: {ifname} exists already in {netns}")]
    InterfaceExists {
        /// The name.
        ifname: String,
        /// The namespace.
        netns: String,
    },
    /// A name of the configuration is something else on this host.
    #[error("{key}: {name} {why}")]
    Conflict {
        /// The configuration key.
        key: &'static str,
        /// Its value.
        name: String,
        /// What is in the way.
        why: String,
    },
    /// What is wanted is in use by attachments: if they are dead it is taken from them.
    #[error("{key}: {name} {why}")]
    InUse {
        /// The configuration key.
        key: &'static str,
        /// Its value.
        name: String,
        /// What is in the way.
        why: String,
        /// Whose use it is.
        users: Box<Users>,
    },
    /// The bridge takes no further port.
    #[error(
        "bridge {bridge}: has 1023 ports, and Linux bridges have no more: use a second network"
    )]
    BridgeFull {
        /// By name.
        bridge: String,
    },
    /// What is left to be done cannot be done at the moment; a later call tries again.
    #[error("cannot be done yet")]
    NotYet,
    /// A port of the host is a process's.
    #[error("portMappings: {port} is in use by {holder}")]
    PortInUse {
        /// Protocol, address and number, as in a message.
        port: String,
        /// By whom.
        holder: String,
    },
    /// The kernel lacks a driver.
    #[error("{}", no_driver(.0))]
    NoDriver(ChildKind),
    /// The kernel lacks a queueing discipline.
    #[error("the kernel cannot limit rates ({reason}): modprobe {driver}, or a kernel with it")]
    NoQueue {
        /// The module.
        driver: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// CHECK found differences.
    #[error("{id}: {}", differences.join("; "))]
    Differs {
        /// The attachment.
        id: String,
        /// Every difference.
        differences: Vec<String>,
    },
    /// STATUS: not ready.
    #[error("{reason}")]
    NotReady {
        /// Why.
        reason: String,
        /// Existing containers suffer from it too.
        existing_suffer: bool,
    },
    /// Several things failed while cleaning up.
    #[error("{what}: {}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several {
        /// What was being done.
        what: String,
        /// What failed.
        errors: Vec<Self>,
    },
}

/// Attachments that use something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Users {
    /// An attachment of Weft's on this host.
    One(AttachmentId),
    /// All that share an object.
    Sharing(SharedObject),
    /// All with a port on a bridge.
    OnBridge(String),
    /// The one that was given an interface of the host with this name.
    OfDevice(String),
}

fn no_driver(kind: &ChildKind) -> String {
    let (module, option) = kind.module();
    let driver = kind.driver();
    format!("this kernel has no driver {driver}: modprobe {module}, or use a kernel with {option}")
}

fn kernel_code(error: &KernelError) -> Code {
    if error.concerns_netns() {
        Code::NetnsUnusable
    } else {
        Code::Kernel
    }
}

fn store_code(error: &StoreError) -> Code {
    match error {
        StoreError::Io { .. } | StoreError::Backend { .. } => Code::Store,
        StoreError::Damaged { .. } => Code::StoreDamaged,
        StoreError::LockTimeout { .. } => Code::TryAgainLater,
        StoreError::AttachmentExists { .. } => Code::AttachmentExists,
        StoreError::Exhausted { .. } => Code::AddressesExhausted,
        StoreError::PortTaken { .. } => Code::PortTaken,
        StoreError::AddressTaken { .. }
        | StoreError::AddressOnSegment { .. }
        | StoreError::AddressUnusable { .. } => Code::AddressUnavailable,
    }
}

impl From<WeftError> for CniError {
    fn from(error: WeftError) -> Self {
        let text = error.to_string();
        match error {
            WeftError::Cni(error) => error,
            WeftError::Kernel(error) => Self::new(kernel_code(&error), text),
            WeftError::Store(error) => Self::new(store_code(&error), text),
            WeftError::OwnNetns { .. } => Self::new(Code::InvalidNetns, text),
            WeftError::InterfaceExists { .. } => Self::new(Code::InterfaceExists, text),
            WeftError::Conflict { .. } | WeftError::InUse { .. } => {
                Self::new(Code::InvalidConfig, text)
            }
            WeftError::BridgeFull { .. } => Self::new(Code::Kernel, text),
            WeftError::NotYet => Self::new(Code::TryAgainLater, text),
            WeftError::PortInUse { .. } => Self::new(Code::PortTaken, text),
            WeftError::NoDriver(_) | WeftError::NoQueue { .. } => {
                Self::new(Code::DriverMissing, text)
            }
            WeftError::Differs { differences, .. } => {
                let list = serde_json::json!(differences).to_string();
                Self::new(Code::CheckFailed, text).with_details(list)
            }
            WeftError::NotReady {
                existing_suffer: false,
                ..
            } => Self::new(Code::Unavailable, text),
            WeftError::NotReady {
                existing_suffer: true,
                ..
            } => Self::new(Code::LimitedConnectivity, text),
            WeftError::Several { what, errors } => {
                let errors: Vec<Self> = errors.into_iter().map(Self::from).collect();
                Self::from_list(Code::Incomplete, &what, &errors)
            }
        }
    }
}

impl WeftError {
    /// Nothing, the only error, or all of them as one.
    pub fn collect(what: &str, errors: Vec<Self>) -> Result<(), Self> {
        let mut errors = errors;
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several {
                what: what.to_owned(),
                errors,
            }),
        }
    }
}

/// The first error, with what failed while cleaning up after it.
pub fn with_cleanup_failure(error: WeftError, cleanup: Option<WeftError>) -> WeftError {
    match cleanup {
        None => error,
        Some(cleanup) => {
            let mut first = CniError::from(error);
            first.msg = format!("{}; and while undoing it: {cleanup}", first.msg);
            first.into()
        }
    }
}
