//! Facts about the machine.

use std::fs;
use std::path::Path;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// The current boot's id, as text; `None` where the kernel does not tell.
pub fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .map(|text| text.trim().to_owned())
}

/// The machine's id (machine-id(5)); `None` if it has none.
pub fn machine_id() -> Option<String> {
    fs::read_to_string("/etc/machine-id")
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|id| !id.is_empty())
}

/// Whether a directory, or the nearest one above it that exists, is forgotten at a reboot.
pub fn is_volatile(dir: &Path) -> bool {
    dir.ancestors()
        .find_map(|dir| statfs(dir).ok())
        .is_some_and(|kind| kind.filesystem_type() == TMPFS_MAGIC)
}
