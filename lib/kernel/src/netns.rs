//! Network namespaces: opening, comparing and, for a moment, entering them.
//!
//! Why it is so: docs/decisions/calls.md.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socket};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use nix::{getsockopt_impl, libc, sockopt_impl};

use crate::error::KernelError;

sockopt_impl!(
    /// SO_NETNS_COOKIE (asm/socket.h): the number of the namespace that a socket is in.
    NetnsCookie,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64
);

/// An open network namespace. It lives at least as long as this handle.
#[derive(Debug)]
pub struct NetNs {
    file: File,
    path: PathBuf,
    dev: u64,
    ino: u64,
}

impl NetNs {
    /// Opens the namespace at `path`.
    ///
    /// # Errors
    /// [`KernelError::Netns`] if it cannot be opened, [`KernelError::NotANetns`] if it is
    /// something else.
    pub fn open(path: &Path) -> Result<Self, KernelError> {
        let failed = |operation, source: io::Error| KernelError::Netns {
            path: path.to_owned(),
            operation,
            source,
        };
        // Whatever the path is: opening a FIFO must not wait for a writer.
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path);
        let file = opened.map_err(|e| failed("cannot be opened", e))?;
        let kind = fstatfs(&file).map_err(|e| failed("cannot be examined", e.into()))?;
        if kind.filesystem_type() != NSFS_MAGIC {
            return Err(KernelError::NotANetns {
                path: path.to_owned(),
            });
        }
        let meta = file
            .metadata()
            .map_err(|e| failed("cannot be examined", e))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            dev: meta.dev(),
            ino: meta.ino(),
        })
    }

    /// The calling thread's namespace.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn current() -> Result<Self, KernelError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Makes a new, empty namespace. The calling thread stays where it is.
    ///
    /// # Errors
    /// [`KernelError::Netns`].
    pub fn create() -> Result<Self, KernelError> {
        let made = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    #[expect(clippy::disallowed_methods, reason = "on a thread that ends here")]
                    nix::sched::unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| {
                        KernelError::Netns {
                            path: "(new)".into(),
                            operation: "cannot be made",
                            source: errno.into(),
                        }
                    })?;
                    Self::current()
                })
                .join()
        });
        made.unwrap_or_else(|_| {
            Err(KernelError::Netns {
                path: "(new)".into(),
                operation: "cannot be made",
                source: io::Error::other("the making thread panicked"),
            })
        })
    }

    /// Whether the path given is this namespace still (a path can be reused).
    pub fn identity(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// A number that no other namespace has or had since the boot, where the kernel gives one (5.14 and
    /// later). Inode numbers are given again when a namespace is gone.
    ///
    /// # Errors
    /// [`KernelError::Netns`] if it cannot be entered.
    pub fn cookie(&self, home: &Self) -> Result<Option<u64>, KernelError> {
        self.run(home, || {
            let none = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Unix, SockType::Datagram, none, None).ok()?;
            getsockopt(&socket, NetnsCookie).ok()
        })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path to this very namespace that other processes can open while this one lives.
    pub fn handle_path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.file.as_raw_fd()
        ))
    }

    /// Runs `work` with the calling thread inside this namespace, then returns the thread to
    /// `home`, also when `work` panics. A thread that cannot return ends the process: it would go
    /// on changing the wrong namespace.
    ///
    /// # Errors
    /// [`KernelError::Netns`] if it cannot be entered.
    pub fn run<T>(&self, home: &Self, work: impl FnOnce() -> T) -> Result<T, KernelError> {
        self.enter()?;
        let _back = Back(home);
        Ok(work())
    }

    fn enter(&self) -> Result<(), KernelError> {
        #[expect(clippy::disallowed_methods, reason = "the one guarded place")]
        nix::sched::setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| {
            KernelError::Netns {
                path: self.path.clone(),
                operation: "cannot be entered",
                source: errno.into(),
            }
        })
    }
}

impl PartialEq for NetNs {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

struct Back<'a>(&'a NetNs);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        if self.0.enter().is_err() {
            std::process::abort();
        }
    }
}
