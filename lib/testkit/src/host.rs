//! A host: a network namespace of its own, with directories of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use tempfile::TempDir;
use weft_kernel::NetNs;
use weft_store::{BackendKind, Store, StoreConfig};

use crate::container::Container;

/// A host. It and everything in it vanish when it is dropped.
#[derive(Debug)]
pub struct Host {
    netns: NetNs,
    dir: Arc<TempDir>,
    backend: BackendKind,
}

impl Host {
    /// A host with nothing but a loopback interface.
    pub fn new() -> Self {
        Self::with_backend(BackendKind::Redb)
    }

    /// The same with a store backend of choice.
    pub fn with_backend(backend: BackendKind) -> Self {
        Self::in_dir(&scratch(), backend)
    }

    /// The same with its directories on a disk, which outlive a reboot.
    pub fn on_disk() -> Self {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        Self::in_dir(&target, BackendKind::Redb)
    }

    fn in_dir(dir: &Path, backend: BackendKind) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("weft-test-")
            .tempdir_in(dir)
            .unwrap();
        let host = Self {
            netns: NetNs::create().expect("a network namespace: are you root?"),
            dir: Arc::new(dir),
            backend,
        };
        host.sh("ip link set lo up");
        host
    }

    /// The host's directory, for the test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where Weft keeps its live state on this host.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Where Weft keeps what outlives a reboot.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where the host's policies are.
    pub fn policy_dir(&self) -> PathBuf {
        self.dir.path().join("policies.d")
    }

    /// The store's backend.
    pub fn backend(&self) -> BackendKind {
        self.backend
    }

    /// The store, opened by the test itself.
    pub fn store(&self) -> Store {
        Store::new(StoreConfig {
            dir: self.state_dir(),
            backend: self.backend,
            lock_timeout: std::time::Duration::from_secs(60),
            boot_id: None,
        })
    }

    /// The network namespace.
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }

    /// A path to the host's own namespace.
    pub fn netns_path(&self) -> PathBuf {
        self.netns.handle_path()
    }

    /// A new container on this host.
    pub fn container(&self) -> Container {
        Container::new(self.dir.clone())
    }

    /// Runs `work` on a thread inside the host's namespace; processes started there are too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        run_in(&self.netns, work)
    }

    /// Runs a shell command on the host and returns what it printed; it must succeed.
    pub fn sh(&self, command: &str) -> String {
        text_of(command, &self.output(command))
    }

    /// Whether a shell command succeeds on the host.
    pub fn succeeds(&self, command: &str) -> bool {
        self.output(command).status.success()
    }

    fn output(&self, command: &str) -> Output {
        self.run(|| shell(command))
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

/// tmpfs where there is one: what is tested here is not a disk.
fn scratch() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        shm.to_owned()
    } else {
        std::env::temp_dir()
    }
}

pub(crate) fn run_in<T: Send>(netns: &NetNs, work: impl FnOnce() -> T + Send) -> T {
    let home = NetNs::current().unwrap();
    std::thread::scope(|scope| {
        scope
            .spawn(|| netns.run(&home, work).unwrap())
            .join()
            .unwrap_or_else(|panic| {
                std::panic::resume_unwind(panic);
            })
    })
}

pub(crate) fn shell(command: &str) -> Output {
    Command::new("bash").args(["-c", command]).output().unwrap()
}

pub(crate) fn text_of(command: &str, output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command}: {}\n{stderr}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A machine beyond the host: 192.0.2.1 and 2001:db8::1, with no route back to any container, so
/// that it can be reached only by masquerade.
#[derive(Debug)]
pub struct Outside {
    machine: Container,
}

impl Outside {
    /// Joins a new machine to a host.
    pub fn join(host: &Host) -> Self {
        let machine = host.container();
        let peer = machine.path();
        host.sh(&format!(
            "ip link add uplink type veth peer name uplink0 netns {} && \
             ip addr add 192.0.2.2/24 dev uplink && ip addr add 2001:db8::2/64 dev uplink nodad && \
             ip link set uplink up",
            peer.display()
        ));
        machine.sh(
            "ip link set lo up && ip addr add 192.0.2.1/24 dev uplink0 && \
             ip addr add 2001:db8::1/64 dev uplink0 nodad && ip link set uplink0 up",
        );
        host.sh(
            "ip route replace default via 192.0.2.1 && ip -6 route replace default via 2001:db8::1",
        );
        Self { machine }
    }

    /// A machine on the network outside of the host.
    pub fn machine(&self) -> &Container {
        &self.machine
    }
}
