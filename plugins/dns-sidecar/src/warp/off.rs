//! `weftd warp off`: every rule and route of Weft's goes from containers, with or without a daemon.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use weft_api::daemon::{Done, WarpRequest, ask, warp_socket};
use weft_attach::steps::warp::Namespace;
use weft_cni::env::Env;
use weft_node::HostConfig;

use weft_warp::Source;

use super::record::Records;

const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the daemon, or does it where none runs.
pub(super) fn run(env: &Env) -> Result<()> {
    let host = HostConfig::read(env)?;
    let each = |_: Done| false;
    let socket = warp_socket(&host.state_dir);
    match ask(&socket, &WarpRequest::Off, Some(PATIENCE), each) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            clear(&host.state_dir)
        }
        Err(error) => Err(error).with_context(|| socket.display().to_string()),
    }
}

/// Clears the namespaces of containers of Docker and Podman that are noted.
///
/// # Errors
/// Those that could not be cleared.
pub(super) fn clear(state_dir: &Path) -> Result<()> {
    let records = Records::open(state_dir)?;
    let mut failures = Vec::new();
    // Those of plugin chains are switched by their network's configuration.
    for record in (records.all().into_iter()).filter(|one| one.id.source != Source::Cni) {
        let place = record.place();
        let cleared = match Namespace::open(&place) {
            Ok(Some(mut namespace)) => namespace.clear(&record.forwarding).map(drop),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match cleared {
            Ok(()) => records.remove(&place),
            Err(error) => failures.push(format!("{}: {error}", record.name)),
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}
