//! Kernel parameters below `/proc/sys`, by names with slashes (`net/ipv4/ip_forward`): interface
//! names may hold dots.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::KernelError;

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// Sets a parameter. One that cannot be written (a runtime in a container has `/proc/sys` read-only) and has the
/// value already is set.
///
/// # Errors
/// [`KernelError::Sysctl`].
pub fn write(name: &str, value: &str) -> Result<(), KernelError> {
    let Err(source) = fs::write(path(name), value) else {
        return Ok(());
    };
    if read(name).is_ok_and(|there| is_same(&there, value)) {
        return Ok(());
    }
    Err(KernelError::Sysctl {
        name: name.to_owned(),
        operation: "cannot be written",
        source,
    })
}

/// Whether two texts are one value: lists of numbers are shown with tabs, however they were written.
pub fn is_same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

/// Reads a parameter, without the line's end.
///
/// # Errors
/// [`KernelError::Sysctl`].
pub fn read(name: &str) -> Result<String, KernelError> {
    let text = fs::read_to_string(path(name)).map_err(|source| KernelError::Sysctl {
        name: name.to_owned(),
        operation: "cannot be read",
        source,
    })?;
    Ok(text.trim_end().to_owned())
}

/// Whether the parameter exists: a kernel without IPv6 has no `net/ipv6`.
pub fn exists(name: &str) -> bool {
    path(name).exists()
}

/// Writes several parameters of one directory, which is looked up once: below `/proc/sys/net` a
/// look-up costs more with every namespace there is. As with [`write()`], what has its value is written.
///
/// # Errors
/// [`KernelError::Sysctl`] of the first that could not be; the others are.
pub fn write_all(directory: &str, values: &[(&str, &str)]) -> Result<(), KernelError> {
    let failed = |name: &str, operation, source: std::io::Error| KernelError::Sysctl {
        name: name.to_owned(),
        operation,
        source,
    };
    let opened = fs::File::open(path(directory));
    let handle = opened.map_err(|error| failed(directory, "cannot be opened", error))?;
    let mut outcome = Ok(());
    for (name, value) in values {
        let write = || -> std::io::Result<()> {
            let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            let file = openat(&handle, *name, flags, Mode::empty())?;
            fs::File::from(file).write_all(value.as_bytes())
        };
        let Err(error) = write() else { continue };
        let name = format!("{directory}/{name}");
        if !read(&name).is_ok_and(|there| is_same(&there, value)) && outcome.is_ok() {
            outcome = Err(failed(&name, "cannot be written", error));
        }
    }
    outcome
}
