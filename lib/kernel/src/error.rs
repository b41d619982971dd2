//! What can go wrong between Weft and the kernel.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// linux/errno.h; the kernel sends it to user space all the same.
const ERESTART: i32 = 85;

/// A failed request. Every variant names the operation and its object.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel answered a netlink request with an error.
    #[error("{request}: {errno}{}", reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default())]
    Refused {
        /// The request, in words.
        request: String,
        /// The kernel's answer.
        errno: Errno,
        /// The kernel's own explanation (extended acknowledgement), if it gave one.
        reason: Option<String>,
    },
    /// A socket failed.
    #[error("netlink socket: {operation}")]
    Socket {
        /// What was done with it.
        operation: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel sent something that cannot be understood.
    #[error("netlink answer to {request} cannot be understood: {what}")]
    Answer {
        /// The request, in words.
        request: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// A dump was disturbed by changes each time it was tried.
    #[error("{request}: the list changed during each of {attempts} attempts to read it")]
    Unsteady {
        /// The request, in words.
        request: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// A network namespace cannot be opened or entered.
    #[error("network namespace {path}: {operation}")]
    Netns {
        /// Below /proc/sys.
        path: PathBuf,
        /// What was done with it.
        operation: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The path is something else.
    #[error("{path} is not a network namespace")]
    NotANetns {
        /// Of the namespace.
        path: PathBuf,
    },
    /// A sysctl cannot be read or written.
    #[error("sysctl {name}: {operation}")]
    Sysctl {
        /// Its name, with slashes.
        name: String,
        /// What was done with it.
        operation: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl KernelError {
    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Socket { source, .. }
            | Self::Netns { source, .. }
            | Self::Sysctl { source, .. } => source.raw_os_error().map(Errno::from_raw),
            Self::Answer { .. } | Self::Unsteady { .. } | Self::NotANetns { .. } => None,
        }
    }

    /// Whether it is the network namespace that cannot be used, and not a request in it.
    pub fn concerns_netns(&self) -> bool {
        match self {
            Self::Netns { .. } | Self::NotANetns { .. } => true,
            Self::Refused { .. }
            | Self::Socket { .. }
            | Self::Answer { .. }
            | Self::Unsteady { .. }
            | Self::Sysctl { .. } => false,
        }
    }

    /// Whether a compare-and-swap came too late: the ruleset is of a later generation.
    pub fn is_outdated(&self) -> bool {
        self.errno().is_some_and(|errno| errno as i32 == ERESTART)
    }

    /// Whether the object of the request exists already.
    pub fn is_present(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// Whether the object of the request does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(
            self.errno(),
            Some(
                Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::ENXIO | Errno::EADDRNOTAVAIL
            )
        )
    }

    /// Whether the kernel does not know what it was asked for: a driver or an option it was built
    /// without.
    pub fn is_unsupported(&self) -> bool {
        self.errno() == Some(Errno::EOPNOTSUPP)
    }

    /// Whether the request makes no sense to the kernel.
    pub fn is_invalid(&self) -> bool {
        self.errno() == Some(Errno::EINVAL)
    }

    /// Whether there is no room: a bridge has its last port.
    pub fn is_full(&self) -> bool {
        self.errno() == Some(Errno::EXFULL)
    }

    /// Whether the object is in use elsewhere.
    pub fn is_busy(&self) -> bool {
        self.errno() == Some(Errno::EBUSY)
    }

    /// The whole chain of causes as one text.
    pub fn full_text(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}
