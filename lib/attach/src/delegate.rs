//! Another IPAM plugin, executed as the specification's section 4 says: same environment, whole
//! configuration.
//!
//! Why it is so: docs/decisions/addresses.md.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weft_cni::delegate::{Execution, find};
use weft_cni::{CniError, CniResult, Code, Request};

/// The IPAM type that Weft's interface plugins serve themselves.
pub const OWN_TYPE: &str = "weft-ipam";
/// Names of the reference's IPAM plugins that Weft answers to as well.
pub const OTHER_NAMES: [&str; 2] = ["host-local", "static"];

/// Whether an IPAM type is Weft's own: by its name, or because what has a reference plugin's name in `CNI_PATH` is
/// Weft.
pub fn is_own_type(plugin: &str, path: &[PathBuf]) -> bool {
    let is_weft = || find(plugin, path).is_ok_and(|file| is_this_program(&file).unwrap_or(false));
    plugin == OWN_TYPE || (OTHER_NAMES.contains(&plugin) && is_weft())
}

/// A link to this program, or a copy of it.
fn is_this_program(file: &Path) -> std::io::Result<bool> {
    let own = Path::new("/proc/self/exe");
    let (own_meta, meta) = (fs::metadata(own)?, fs::metadata(file)?);
    if (own_meta.dev(), own_meta.ino()) == (meta.dev(), meta.ino()) {
        return Ok(true);
    }
    Ok(own_meta.len() == meta.len() && fs::read(own)? == fs::read(file)?)
}

/// The configuration's IPAM plugin, if it is not Weft's own.
pub fn foreign_type(request: &Request) -> Option<&str> {
    let plugin = request.conf.ipam_type()?;
    (!is_own_type(plugin, &request.env.plugin_path())).then_some(plugin)
}

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

    /// Whether it asks for addresses by the container's interface, which has to be there before: the reference
    /// plugin `dhcp` does.
    pub fn needs_interface(&self) -> bool {
        const DHCP: &str = "dhcp";
        self.plugin == DHCP
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
