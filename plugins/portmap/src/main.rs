//! weft-portmap: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_cni::run(&weft_portmap::PORTMAP)
}
