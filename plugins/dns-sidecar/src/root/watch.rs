//! Files that matter: the store, weft.toml, resolv.conf, connections of networks, namespaces by their path.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use weft_node::HostConfig;

use super::{Happened, RESOLV_CONF, parent};

/// What a directory is watched for. Files are replaced by others, so that directories are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Store,
    Connections,
    Config,
    ResolvConf,
}

#[derive(Debug)]
pub(super) struct Watch {
    inotify: Inotify,
    subjects: Vec<(WatchDescriptor, Subject, OsString)>,
}

/// Without IN_CLOSE_WRITE: whoever reads the store opens its file for writing, this daemon as well.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_MOVED_TO
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE);
/// Of files that others write: one that is half written is not read.
const WRITTEN: AddWatchFlags = AddWatchFlags::IN_MOVED_TO
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_DELETE);

/// IN_MASK_ADD: files of several kinds may be in one directory.
const MASK_ADD: u32 = 1 << 29;

impl Watch {
    pub(super) fn start(config: &HostConfig, config_file: &Path) -> Result<Self> {
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let inotify = Inotify::init(flags).context("inotify cannot be used")?;
        let mut watch = Self {
            inotify,
            subjects: Vec::new(),
        };
        // Each commit of the store replaces or writes a file whose name begins so.
        let store = config.state_dir.join("store");
        watch
            .add(&store, Subject::Store)
            .context("the store's directory cannot be watched")?;
        // A host need not have a directory for its configuration: `weft dns reload` reads one that comes later.
        let _ = watch.add(
            &config.data_dir.join("connections.json"),
            Subject::Connections,
        );
        let _ = watch.add(config_file, Subject::Config);
        let _ = watch.add(Path::new(RESOLV_CONF), Subject::ResolvConf);
        if let Ok(target) = std::fs::canonicalize(RESOLV_CONF) {
            let _ = watch.add(&target, Subject::ResolvConf);
        }
        Ok(watch)
    }

    fn add(&mut self, file: &Path, subject: Subject) -> Result<()> {
        let flags = match subject {
            Subject::Store => CHANGES,
            Subject::Connections | Subject::Config | Subject::ResolvConf => {
                WRITTEN | AddWatchFlags::from_bits_retain(MASK_ADD)
            }
        };
        let descriptor = self.inotify.add_watch(parent(file), flags)?;
        let name = file.file_name().unwrap_or_default().to_owned();
        self.subjects.push((descriptor, subject, name));
        Ok(())
    }

    /// Tells of a namespace whose path goes, too.
    pub(super) fn add_namespace(&self, path: &Path) {
        let directory: PathBuf = parent(path).into();
        // Below /proc nothing is told of; the audit sees it.
        let _ = self.inotify.add_watch(
            &directory,
            AddWatchFlags::IN_DELETE | AddWatchFlags::from_bits_retain(MASK_ADD),
        );
    }

    /// What has happened.
    pub(super) fn read(&self, happened: &mut Happened) {
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                let is_store = |(descriptor, subject, _): &(_, Subject, _)| {
                    *descriptor == event.wd && *subject == Subject::Store
                };
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    happened.is_homeless |= self.subjects.iter().any(is_store);
                }
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    *happened = Happened::everything();
                }
                let name = event.name.unwrap_or_default();
                let subject = self.subjects.iter().find(|(descriptor, subject, file)| {
                    let is_named = match subject {
                        Subject::Store => {
                            name.as_encoded_bytes().starts_with(file.as_encoded_bytes())
                        }
                        Subject::Connections | Subject::Config | Subject::ResolvConf => {
                            name == *file
                        }
                    };
                    *descriptor == event.wd && is_named
                });
                match subject.map(|(_, subject, _)| subject) {
                    Some(Subject::Store) => happened.store = true,
                    Some(Subject::Connections) => happened.connections = true,
                    Some(Subject::Config) => happened.config = true,
                    Some(Subject::ResolvConf) => happened.resolv_conf = true,
                    None => {}
                }
            }
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
