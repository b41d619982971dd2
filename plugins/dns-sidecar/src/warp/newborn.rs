//! Namespaces as they come: a target is closed before its first instruction, long before its runtime says that it has
//! started.
//!
//! A runtime makes a file for the namespace, and the container's first process, which waits for its network, is in the
//! container's cgroup by then. The cgroup has the container's id, so nobody has to be asked.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;
use weft_warp::{NetnsPlace, Source};

use super::facts;
use super::readable::{Readable, wait_for};

/// A namespace, and whose it is.
#[derive(Debug)]
pub(super) struct Newborn {
    pub(super) source: Source,
    /// The runtime's id.
    pub(super) id: String,
    pub(super) place: NetnsPlace,
    pub(super) pid: i32,
}

/// A namespace without a process is looked at for so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// A directory that is not there yet is looked for so often: the first container after a boot makes it.
const AGAIN: Duration = Duration::from_millis(20);

/// What is known of containers already.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// There are targets or gateways that do not run: without any, no process is looked at.
    pub(super) is_anyone_awaited: bool,
    /// Namespaces of containers that run: device and number.
    pub(super) known: BTreeSet<(u64, u64)>,
}

/// The same, shared.
pub(super) type Awaited = Arc<Mutex<Expected>>;

/// Watches a directory for ever.
pub(super) async fn watch(
    source: Source,
    directory: PathBuf,
    awaited: Awaited,
    found: UnboundedSender<Newborn>,
) {
    loop {
        match open(&directory) {
            Some(inotify) => {
                let each = |path: PathBuf| {
                    let (awaited, found) = (Arc::clone(&awaited), found.clone());
                    tokio::spawn(identify(source, path, awaited, found));
                };
                // Those that came before it was watched.
                for entry in std::fs::read_dir(&directory)
                    .into_iter()
                    .flatten()
                    .flatten()
                {
                    each(entry.path());
                }
                read(&inotify, &directory, each).await;
            }
            None => tokio::time::sleep(AGAIN).await,
        }
    }
}

fn open(directory: &Path) -> Option<AsyncFd<Readable<Inotify>>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    inotify.add_watch(directory, flags).ok()?;
    wait_for(inotify).ok()
}

/// Tells of each file that comes, until the directory goes.
async fn read(inotify: &AsyncFd<Readable<Inotify>>, directory: &Path, each: impl Fn(PathBuf)) {
    loop {
        let Ok(mut ready) = inotify.readable().await else {
            return;
        };
        let events = match inotify.get_ref().0.read_events() {
            Ok(events) => events,
            Err(nix::errno::Errno::EAGAIN) => {
                ready.clear_ready();
                continue;
            }
            Err(_) => return,
        };
        for event in events {
            if event.mask.contains(AddWatchFlags::IN_IGNORED)
                || event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
            {
                // Begun anew, with all files that are there.
                return;
            }
            if let Some(name) = event.name {
                each(directory.join(name));
            }
        }
    }
}

/// Finds out whose namespace it is: by and by, as it may have no process yet.
async fn identify(
    source: Source,
    path: PathBuf,
    awaited: Awaited,
    found: UnboundedSender<Newborn>,
) {
    let since = Instant::now();
    let mut pause = Duration::from_millis(1);
    while since.elapsed() < PATIENCE {
        let place = facts::at(&path);
        let is_wanted = place.as_ref().map(|place| is_wanted(&awaited, place));
        if is_wanted == Some(None) {
            return;
        }
        if let (Some(place), Some(Some(true))) = (place, is_wanted)
            && let Some((pid, id)) = inhabitant(&place)
        {
            let newborn = Newborn {
                source,
                id,
                place,
                pid,
            };
            let _ = found.send(newborn);
            return;
        }
        if !path.exists() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(10).max(since.elapsed() / 5));
    }
}

/// Whether a namespace may be that of one that is awaited; none if it is known whose it is.
fn is_wanted(awaited: &Awaited, place: &NetnsPlace) -> Option<bool> {
    let expected = awaited.lock().unwrap_or_else(PoisonError::into_inner);
    let is_known = expected.known.contains(&(place.dev, place.ino));
    (!is_known).then_some(expected.is_anyone_awaited)
}

/// A process in a namespace whose cgroup has a container's id: its number, and the id. The newest processes come first.
fn inhabitant(place: &NetnsPlace) -> Option<(i32, String)> {
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let all = std::fs::read_dir("/proc").ok()?;
    let mut pids: Vec<i32> = all.flatten().filter_map(number).collect();
    pids.sort_unstable_by(|one, other| other.cmp(one));
    let is_there = |pid: &i32| {
        let meta = std::fs::metadata(format!("/proc/{pid}/ns/net"));
        meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == (place.dev, place.ino))
    };
    let of_process = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        Some((pid, id_in(&text)?))
    };
    pids.into_iter().filter(is_there).find_map(of_process)
}

/// The id of a container in the path of a cgroup: `/docker/ID`, `docker-ID.scope`, `libpod-ID`, `cri-containerd-ID.scope`.
fn id_in(cgroups: &str) -> Option<String> {
    const DIGITS: usize = 64;
    let is_id = |word: &&str| {
        word.len() == DIGITS
            && word
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut words = cgroups.split(['/', '-', '.', '\n', ':', '_']);
    words.find(is_id).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_the_paths_of_cgroups() {
        let id = "5831142964bf3fbdcb6f7bce05c0d9eb531c420ce1b5918f240ffe6eb3d4372f";
        for text in [
            format!("9:name=systemd:/docker/{id}\n8:pids:/docker/{id}\n"),
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("0::/machine.slice/libpod-{id}.scope/container\n"),
            format!("0::/libpod_parent/libpod-{id}\n"),
            format!("0::/kubepods.slice/cri-containerd-{id}.scope\n"),
        ] {
            assert_eq!(id_in(&text).as_deref(), Some(id), "{text}");
        }
        assert_eq!(id_in("0::/user.slice/user-0.slice\n"), None);
    }
}
