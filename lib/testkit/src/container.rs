//! A container, as far as networking goes: a network namespace with a path.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::net::if_::if_nametoindex;
use tempfile::TempDir;
use weft_kernel::NetNs;

use crate::host::{run_in, shell, text_of};

static NUMBER: AtomicU32 = AtomicU32::new(1);

/// A container. Its namespace is bound to a path, as runtimes do it, until it is dropped.
#[derive(Debug)]
pub struct Container {
    netns: Option<NetNs>,
    path: PathBuf,
    id: String,
    /// Its host's: it cannot go before what is mounted in it.
    _dir: Arc<TempDir>,
}

impl Container {
    pub(crate) fn new(dir: Arc<TempDir>) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = dir.path().join(format!("netns-{number}"));
        let netns = NetNs::create().unwrap();
        File::create(&path).unwrap();
        let none: Option<&str> = None;
        mount(
            Some(&netns.handle_path()),
            &path,
            none,
            MsFlags::MS_BIND,
            none,
        )
        .unwrap();
        Self {
            netns: Some(netns),
            path,
            id: format!("ctr{}-{number}", std::process::id()),
            _dir: dir,
        }
    }

    /// The path for `CNI_NETNS`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A container id nobody else has.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs `work` on a thread inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        run_in(self.netns.as_ref().expect("the container is gone"), work)
    }

    /// Runs a shell command inside and returns what it printed; it must succeed.
    pub fn sh(&self, command: &str) -> String {
        text_of(command, &self.run(|| shell(command)))
    }

    /// Whether a shell command succeeds inside.
    pub fn succeeds(&self, command: &str) -> bool {
        self.run(|| shell(command)).status.success()
    }

    /// Whether there is an interface of this name inside.
    pub fn has_interface(&self, name: &str) -> bool {
        self.run(|| if_nametoindex(name)).is_ok()
    }

    /// Ends the container: the namespace is gone, and so is its path.
    pub fn kill(&mut self) {
        self.netns = None;
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
    }
}
