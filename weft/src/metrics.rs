//! `weft metrics`: everything that is counted, for Prometheus.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use weft_vnet::Detail;

use crate::network::manager;
use crate::output;

/// Print metrics in Prometheus' text format.
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// Bytes and packets of each endpoint too: six lines for each
    #[arg(long)]
    endpoints: bool,
    /// Write them to this file, whole or not at all, for node_exporter's textfile collector
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
}

pub(crate) fn run(metrics: &Metrics) -> Result<()> {
    let detail = Detail {
        endpoints: metrics.endpoints,
    };
    let text = manager()?.metrics(detail)? + &crate::warp::metrics();
    match &metrics.textfile {
        None => output::text(&text),
        Some(path) => {
            write(path, &text).with_context(|| format!("{} cannot be written", path.display()))?
        }
    }
    Ok(())
}

/// node_exporter, which is not the superuser, reads files that end in .prom.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let new = path.with_extension(format!("new{}", std::process::id()));
    let write = || {
        let mut file = weft_cni::file::create_own(&new)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        std::fs::rename(&new, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&new);
    })
}
