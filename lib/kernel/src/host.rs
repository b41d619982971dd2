//! Facts about the machine.

use std::fs;

/// The current boot's id, as text; `None` where the kernel does not tell.
pub fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}

/// The machine's id (machine-id(5)); `None` if it has none.
pub fn machine_id() -> Option<String> {
    fs::read_to_string("/etc/machine-id")
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|id| !id.is_empty())
}
