//! The log, on standard error: runtimes keep it; standard output belongs to the protocol.

use tracing::Level;
use weft_cni::env::Env;

/// Begins to log, from the level on that `WEFT_LOG` says.
pub(crate) fn start(env: &Env) {
    let level = env.get("WEFT_LOG").and_then(|text| text.parse().ok());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(level.unwrap_or(Level::WARN))
        .init();
}
