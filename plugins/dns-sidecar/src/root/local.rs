//! Sockets of this machine: one for the superuser's questions, one for everybody's; and that there is one daemon.

use std::fs::{File, OpenOptions, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Group, chown};
use weft_api::daemon::{dns_socket, status_socket};
use weft_node::HostConfig;

/// The right to be the daemon of this store, as long as the value lives.
pub(crate) fn be_alone(state_dir: &Path, name: &str) -> Result<Flock<File>> {
    let path = state_dir.join(name);
    let mut options = OpenOptions::new();
    let mut file = weft_cni::file::open_own(&path, options.write(true).create(true))
        .with_context(|| path.display().to_string())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            // A process that one which was killed had just forked has its files until it executes its program.
            Err((back, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
                file = back;
            }
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                bail!(
                    "another weftd runs with {}: there is one for a store",
                    state_dir.display()
                )
            }
            Err((_, errno)) => return Err(errno).with_context(|| path.display().to_string()),
        }
    }
}

/// Another daemon is waited for so long.
const PATIENCE: Duration = Duration::from_millis(500);

/// A listening socket at a path, with these rights; whatever was there goes.
pub(crate) fn listen(path: &Path, mode: u32) -> Result<UnixListener> {
    let what = || format!("the socket {}", path.display());
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(what);
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(what)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode)).with_context(what)?;
    listener.set_nonblocking(true).with_context(what)?;
    Ok(listener)
}

/// The sockets of the part that answers: the superuser's, and everybody's that is in the group `weft`.
pub(super) fn listeners(config: &HostConfig) -> Result<[OwnedFd; 2]> {
    let dns = listen(&dns_socket(&config.state_dir), 0o600)?;
    let dir = &config.public_dir;
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o750))
        .with_context(|| dir.display().to_string())?;
    let path = status_socket(dir);
    let status = listen(&path, 0o660)?;
    if let Ok(Some(group)) = Group::from_name("weft") {
        for path in [dir, &path] {
            chown(path, None, Some(group.gid)).with_context(|| path.display().to_string())?;
        }
    }
    Ok([dns.into(), status.into()])
}
