//! weft-firewall: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_cni::run(&weft_firewall::FIREWALL)
}
