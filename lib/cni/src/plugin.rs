//! What a plugin is: five verbs over a parsed request.

use crate::conf::{KeySpec, KeyTable, NetConf};
use crate::env::Env;
use crate::error::CniError;
use crate::id::AttachmentId;
use crate::result::CniResult;

/// One call: the environment and the configuration, both checked as far as the specification
/// goes.
#[derive(Debug, Clone)]
pub struct Request {
    /// The process's environment.
    pub env: Env,
    /// Standard input, parsed.
    pub conf: NetConf,
    /// Standard input as it came, for delegates.
    pub input: Vec<u8>,
}

impl Request {
    /// The attachment that is meant.
    ///
    /// # Errors
    /// Code 4.
    pub fn attachment_id(&self) -> Result<AttachmentId, CniError> {
        self.env.attachment_id(&self.conf.name)
    }
}

/// What a plugin is called and which keys it takes. The registry of plugins, the names of the installed
/// program, the reference page and the check of configurations are made from it.
#[derive(Debug, Clone, Copy)]
pub struct Declaration {
    /// The executable's name.
    pub name: &'static str,
    /// The reference plugins whose configurations it takes: a runtime may call it by their names.
    pub other_names: &'static [&'static str],
    /// What it is, for the reference page.
    pub intro: &'static str,
    /// The keys of its configuration.
    pub keys: &'static [KeySpec],
    /// The keys of objects in its configuration.
    pub objects: &'static [KeyTable],
}

/// A CNI plugin. [`crate::run()`] has checked environment, version and configuration before any
/// of these is called, and prints what they return.
pub trait Plugin: Sync {
    /// Its names and keys.
    fn declaration(&self) -> &Declaration;

    /// The executable's name.
    fn name(&self) -> &'static str {
        self.declaration().name
    }

    /// Reads a configuration without a container.
    ///
    /// # Errors
    /// Code 7 with every problem; code 2 for unknown keys if the configuration is strict.
    fn validate(&self, request: &Request) -> Result<(), CniError>;

    /// Attaches the container.
    ///
    /// # Errors
    /// Any; the host is then as it was before.
    fn add(&self, request: &Request) -> Result<CniResult, CniError>;

    /// Detaches it. What is absent already is no error.
    ///
    /// # Errors
    /// Only if something known remains.
    fn del(&self, request: &Request) -> Result<(), CniError>;

    /// Compares the attachment with its record, changing nothing.
    ///
    /// # Errors
    /// Code 108 with every difference.
    fn check(&self, request: &Request) -> Result<(), CniError>;

    /// Removes what belongs to no valid attachment of the network.
    ///
    /// # Errors
    /// Only if something known remains.
    fn gc(&self, request: &Request) -> Result<(), CniError>;

    /// Whether an ADD would succeed.
    ///
    /// # Errors
    /// Codes 50 and 51.
    fn status(&self, request: &Request) -> Result<(), CniError>;
}
