//! weft-tuning: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_cni::run(&weft_tuning::TUNING)
}
