//! Finding the namespace of a container again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weft_kernel::{KernelError, NetNs};
use weft_store::{AttachmentRecord, NetnsRecord};

/// What to remember of a namespace.
pub fn record(path: &str, netns: &NetNs, home: &NetNs) -> Result<NetnsRecord, KernelError> {
    let (dev, ino) = netns.identity();
    Ok(NetnsRecord {
        path: path.to_owned(),
        dev,
        ino,
        cookie: netns.cookie(home)?,
    })
}

/// The same of the namespace at a path.
pub fn record_at(path: &str) -> Result<NetnsRecord, KernelError> {
    record(path, &NetNs::open(Path::new(path))?, &NetNs::current()?)
}

/// Whether it is the namespace that is remembered: not a later one that has got its inode number.
pub fn is_same(there: &NetNs, netns: &NetnsRecord) -> bool {
    let cookie = || NetNs::current().and_then(|home| there.cookie(&home));
    there.identity() == (netns.dev, netns.ino)
        && (netns.cookie.is_none() || cookie().is_ok_and(|cookie| cookie == netns.cookie))
}

fn open(path: &Path, netns: &NetnsRecord) -> Option<NetNs> {
    let there = NetNs::open(path).ok()?;
    is_same(&there, netns).then_some(there)
}

/// Whether the namespace is where it was.
pub fn is_there(netns: &NetnsRecord) -> bool {
    open(Path::new(&netns.path), netns).is_some()
}

/// The namespace, where it was or wherever it can be seen: its path goes before it does if a
/// process lives on inside.
pub fn find(netns: &NetnsRecord) -> Option<NetNs> {
    open(Path::new(&netns.path), netns)
        .or_else(|| visible().iter().find_map(|path| open(path, netns)))
}

/// Those of records whose namespace is neither at its path nor to be seen anywhere else.
pub fn gone<'a>(records: impl Iterator<Item = &'a AttachmentRecord>) -> Vec<&'a AttachmentRecord> {
    let is_there = |record: &&AttachmentRecord| record.netns.as_ref().is_some_and(is_there);
    let mut gone: Vec<&AttachmentRecord> = records.filter(|one| !is_there(one)).collect();
    if gone.is_empty() {
        return gone;
    }
    // One look at all of them, however many records there are.
    let mut seen: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for path in visible() {
        if let Ok(meta) = std::fs::metadata(&path) {
            seen.insert((meta.dev(), meta.ino()), path);
        }
    }
    gone.retain(|record| {
        record.netns.as_ref().is_some_and(|netns| {
            let path = seen.get(&(netns.dev, netns.ino));
            path.is_none_or(|path| open(path, netns).is_none())
        })
    });
    // With a pair of interfaces the host's end tells. Others could live on where only another mount namespace shows them.
    if gone.iter().any(|record| record.link.port().is_none()) {
        let hidden = bound_elsewhere();
        gone.retain(|record| {
            let is_hidden = |netns: &NetnsRecord| hidden.contains(&netns.ino);
            record.link.port().is_some() || !record.netns.as_ref().is_some_and(is_hidden)
        });
    }
    gone
}

/// The inode numbers of the network namespaces that are bound to a path in other mount namespaces.
fn bound_elsewhere() -> BTreeSet<u64> {
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap_or_default();
    let mut looked_at = BTreeSet::from([own]);
    let mut found = BTreeSet::new();
    for process in processes() {
        let Ok(mounts) = std::fs::read_link(process.join("ns/mnt")) else {
            continue;
        };
        if looked_at.insert(mounts) {
            let text = std::fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
            found.extend(text.lines().filter_map(bound_inode));
        }
    }
    found
}

fn bound_inode(line: &str) -> Option<u64> {
    let root = line.split(' ').nth(3)?;
    root.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Every namespace that can be seen, once.
pub fn all() -> Vec<NetNs> {
    let mut seen = BTreeSet::new();
    let open = |path: PathBuf| NetNs::open(&path).ok();
    visible()
        .into_iter()
        .filter_map(open)
        .filter(|netns| seen.insert(netns.identity()))
        .collect()
}

/// Namespaces that are bound to a path (`ip netns`, container runtimes), and those of processes.
pub fn visible() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut paths: Vec<PathBuf> = mounts.lines().filter_map(bound_namespace).collect();
    paths.extend(processes().map(|process| process.join("ns/net")));
    paths
}

/// The directories of the processes.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    entries.map(|entry| entry.path()).filter(is_process)
}

/// The mount point in a line of proc_pid_mountinfo(5) that binds a network namespace.
fn bound_namespace(line: &str) -> Option<PathBuf> {
    let mut fields = line.split(' ').skip(3);
    let (root, mount_point) = (fields.next()?, fields.next()?);
    root.starts_with("net:[")
        .then(|| PathBuf::from(mount_point.replace("\\040", " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_namespaces_are_found_among_mounts() {
        let netns = "371 28 0:4 net:[4026532316] /run/netns/a rw shared:216 - nsfs nsfs rw";
        assert_eq!(bound_namespace(netns), Some("/run/netns/a".into()));
        let other = "28 23 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,mode=755";
        assert_eq!(bound_namespace(other), None);
    }
}
