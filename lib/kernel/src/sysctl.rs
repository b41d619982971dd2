//! Kernel parameters below `/proc/sys`, by names with slashes (`net/ipv4/ip_forward`): interface
//! names may hold dots.

use std::fs;
use std::path::PathBuf;

use crate::error::KernelError;

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// Reads a parameter of the calling thread's namespaces.
///
/// # Errors
/// [`KernelError::Sysctl`].
pub fn read(name: &str) -> Result<String, KernelError> {
    fs::read_to_string(path(name)).map(|text| text.trim().to_owned()).map_err(|source| {
        KernelError::Sysctl { name: name.to_owned(), operation: "cannot be read", source }
    })
}

/// Writes a parameter.
///
/// # Errors
/// [`KernelError::Sysctl`].
pub fn write(name: &str, value: &str) -> Result<(), KernelError> {
    fs::write(path(name), value).map_err(|source| KernelError::Sysctl {
        name: name.to_owned(),
        operation: "cannot be written",
        source,
    })
}

/// Writes a parameter unless it has the value already. Returns the value it had if it was changed.
///
/// # Errors
/// [`KernelError::Sysctl`].
pub fn ensure(name: &str, value: &str) -> Result<Option<String>, KernelError> {
    let before = read(name)?;
    if before == value {
        return Ok(None);
    }
    write(name, value)?;
    Ok(Some(before))
}

/// Whether the parameter exists: a kernel without IPv6 has no `net/ipv6`.
pub fn exists(name: &str) -> bool {
    path(name).exists()
}
