//! Error codes, and the one JSON document a failed verb prints.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::version::SpecVersion;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $title:literal, $remedy:literal;)*) => {
        /// Why a verb failed, as a number runtimes can act on. 1 to 99 are the specification's,
        /// 100 and above are Weft's own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Code {
            $($(#[$doc])* $name = $number,)*
        }

        impl Code {
            /// Every code, ascending; the page of error codes is made from it.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What the code means, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What to do when the code is met.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    /// The configuration's `cniVersion` is not one of ours, or lacks the verb.
    IncompatibleVersion = 1, "incompatible CNI version",
        "set cniVersion to one of those that the details list";
    /// A key or a value that Weft does not support.
    UnsupportedField = 2, "unsupported field in the network configuration",
        "remove or correct the key that the message names";
    /// The container is not known; the runtime need not DEL.
    UnknownContainer = 3, "container unknown",
        "nothing to do: there is nothing to delete";
    /// A `CNI_*` variable is missing or wrong.
    InvalidEnvironment = 4, "invalid environment variable",
        "the runtime has set the variables that the message names: see its configuration";
    /// Standard input or output failed.
    Io = 5, "I/O failure",
        "try again; see the runtime's log if it stays";
    /// What arrived is not the JSON it should be.
    Decode = 6, "content could not be decoded",
        "check the configuration file's syntax: weft config check FILE";
    /// The configuration is JSON but wrong.
    InvalidConfig = 7, "invalid network configuration",
        "correct the keys that the message lists: weft config check FILE";
    /// `CNI_NETNS` is the namespace the plugin itself runs in.
    InvalidNetns = 8, "network namespace is the host's own",
        "attach host-network containers to no network";
    /// Something is in the way for a moment.
    TryAgainLater = 11, "try again later",
        "the runtime repeats the call; the message names the process that holds the lock";
    /// STATUS: an ADD would fail now.
    Unavailable = 50, "plugin not available",
        "see the reason in the message";
    /// STATUS: an ADD would fail now and existing containers may have lost connectivity.
    LimitedConnectivity = 51, "plugin not available, existing containers affected",
        "see the reason in the message";
    /// The kernel refused a request (netlink or a file).
    Kernel = 100, "the kernel refused a request",
        "the message names the request and the kernel's reason";
    /// Weft's store cannot be read or written.
    Store = 101, "Weft's store cannot be used",
        "check the directory's permissions and free space: weft store check";
    /// Weft's store holds something that cannot be.
    StoreDamaged = 102, "Weft's store is damaged",
        "weft store rebuild moves it aside and makes a new one from what the kernel shows";
    /// All ranges are full, or their released addresses are cooling down.
    AddressesExhausted = 103, "no free address",
        "enlarge the range, or find leases of dead containers: weft store dump, weft cni gc";
    /// The requested address cannot be had.
    AddressUnavailable = 104, "requested address not available",
        "request another address; the message names the attachment that holds this one";
    /// An attachment with this identity exists.
    AttachmentExists = 105, "attachment exists already",
        "DEL it first; each network, container id and interface name is attached once";
    /// The interface name is taken inside the container.
    InterfaceExists = 106, "interface name taken in the container",
        "choose another CNI_IFNAME, or remove the interface";
    /// The container's network namespace cannot be opened.
    NetnsUnusable = 107, "network namespace cannot be used",
        "see that the path in CNI_NETNS is a network namespace";
    /// CHECK found differences.
    CheckFailed = 108, "the attachment is not as it should be",
        "the details list every difference; delete and add the attachment to mend it";
    /// A delegate (IPAM) plugin failed without saying why, or is missing.
    DelegateFailed = 109, "delegate plugin failed",
        "see that the plugin is in CNI_PATH and what it wrote to standard error";
    /// DEL or GC could not remove everything.
    Incomplete = 110, "something could not be removed",
        "repeat the DEL or GC once the cause that the details name is gone";
    /// The kernel has no driver for the interface.
    DriverMissing = 111, "the kernel lacks a driver",
        "load the module that the message names, or use a kernel built with its option";
    /// A published port is taken.
    PortTaken = 112, "port of the host taken",
        "publish another port, or another address of the host; the message names the attachment or process that has this one";
    /// A bug: a plugin stopped where it must not.
    Internal = 199, "internal error",
        "please report it, with the message";
}

impl Code {
    /// The number in the error document.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// An error as the specification's section "Error" shapes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { ": " })]
pub struct CniError {
    /// The code's number: one of [`Code`], or whatever a delegate said.
    pub code: u32,
    /// What failed, on what, and why.
    pub msg: String,
    /// What to do next, or a machine-readable list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl CniError {
    /// An error with the code's own remedy as details.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self {
            code: code.number(),
            msg: msg.into(),
            details: code.remedy().to_owned(),
        }
    }

    /// The same with other details.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The JSON document that goes to standard output, in a configuration of `version`.
    pub fn to_json(&self, version: SpecVersion) -> String {
        json!({
            "cniVersion": version.as_str(),
            "code": self.code,
            "msg": self.msg,
            "details": self.details,
        })
        .to_string()
    }

    /// Several failures as one: the first one's code, every message in the details.
    pub fn from_list(code: Code, what: &str, errors: &[Self]) -> Self {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let code = match errors {
            [only] => only.code,
            _ => code.number(),
        };
        Self {
            code,
            msg: format!("{what}: {}", all.join("; ")),
            details: all.join("\n"),
        }
    }
}
