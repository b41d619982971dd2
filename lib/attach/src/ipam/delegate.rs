//! Another IPAM plugin, executed as the specification's section 4 says: same environment, whole
//! configuration.

use std::path::PathBuf;

use weft_cni::delegate::{Execution, find};
use weft_cni::{CniError, CniResult, Code, Request};

/// An IPAM plugin that is not Weft's.
#[derive(Debug, Clone)]
pub struct DelegateIpam {
    /// Its type.
    pub plugin: String,
    path: Vec<PathBuf>,
    input: Vec<u8>,
}

impl DelegateIpam {
    /// The plugin of a given type, for a request.
    pub fn new(plugin: &str, request: &Request) -> Self {
        Self {
            plugin: plugin.to_owned(),
            path: request.env.plugin_path(),
            input: request.input.clone(),
        }
    }

    fn run(&self, command: &str) -> Result<Option<serde_json::Value>, CniError> {
        let program = find(&self.plugin, &self.path)?;
        Execution {
            program: &program,
            command,
            input: &self.input,
            variables: &[],
        }
        .run()
    }

    /// Runs ADD.
    ///
    /// # Errors
    /// The plugin's; code 109 if it returned no addresses. The caller runs [`Self::del`] then.
    pub fn add(&self) -> Result<CniResult, CniError> {
        let document = self.run("ADD")?.unwrap_or_default();
        if let Ok(error) = serde_json::from_value::<CniError>(document.clone()) {
            // It failed and forgot to say so by its status.
            return Err(error);
        }
        let result = CniResult::from_value(&document).map_err(|error| {
            let text = format!(
                "IPAM plugin {:?} printed no result: {}",
                self.plugin, error.msg
            );
            CniError::new(Code::DelegateFailed, text)
        })?;
        if result.ips.is_empty() {
            return Err(CniError::new(
                Code::DelegateFailed,
                format!("IPAM plugin {:?} returned no addresses", self.plugin),
            ));
        }
        Ok(result)
    }

    /// Runs DEL.
    ///
    /// # Errors
    /// The plugin's.
    pub fn del(&self) -> Result<(), CniError> {
        self.run("DEL").map(drop)
    }

    /// Runs CHECK, GC or STATUS.
    ///
    /// # Errors
    /// The plugin's.
    pub fn forward(&self, command: &str) -> Result<(), CniError> {
        self.run(command).map(drop)
    }
}
