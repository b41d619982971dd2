//! Writing to the terminal. A reader that has gone away (`weft … | head`) is no error.

use std::io::Write;

/// Writes a line to standard output.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes an error and its causes to standard error, with what to do next if it is known.
pub(crate) fn failure(error: &anyhow::Error) {
    let mut stderr = std::io::stderr();
    if let Some(cni) = error.downcast_ref::<weft_cni::CniError>() {
        let _ = writeln!(stderr, "weft: {} (code {})", cni.msg, cni.code);
        if !cni.details.is_empty() {
            let _ = writeln!(stderr, "hint: {}", cni.details);
        }
    } else {
        let _ = writeln!(stderr, "weft: {error:#}");
    }
}
