//! What a plugin is: five verbs over a parsed request.

use crate::conf::NetConf;
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

/// A CNI plugin. [`crate::run()`] has checked environment, version and configuration before any
/// of these is called, and prints what they return.
pub trait Plugin {
    /// The executable's name.
    fn name(&self) -> &'static str;

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
