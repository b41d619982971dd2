//! Files that calls read and write.
//!
//! Whatever is in a file's place, a call neither waits for it nor reads without end: only regular files are opened, and
//! so much of them is read. What Weft itself writes is the superuser's alone, whatever the umask of the runtime that
//! calls: who can write it decides who reaches whom.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::libc;

const FILE: u32 = 0o600;
const DIRECTORY: u32 = 0o700;
/// What a group and others may write.
const OTHERS_WRITE: u32 = 0o022;
/// More than any configuration or record has.
const LIMIT: u64 = 16 << 20;

fn open(path: &Path, options: &mut OpenOptions, flags: i32) -> Result<File> {
    let file = options
        .custom_flags(libc::O_NONBLOCK | flags)
        .mode(FILE)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(Error::new(ErrorKind::InvalidInput, "is no regular file")),
    }
}

fn read_all(file: File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LIMIT {
        let text = format!("is larger than {} MiB", LIMIT >> 20);
        return Err(Error::new(ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Reads a file of the administrator's, which may be a link.
///
/// # Errors
/// The system's; `InvalidInput` for what is no regular file, `FileTooLarge`.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_all(open(path, OpenOptions::new().read(true), 0)?)
}

/// The same, as a text.
///
/// # Errors
/// As [`read`]; `InvalidData` for what is no UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let text = String::from_utf8(read(path)?);
    text.map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

/// Opens or makes a file of Weft's own; a link is not followed. Others than the superuser may not write it from now
/// on.
///
/// # Errors
/// The system's; `InvalidInput` for what is no regular file.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> Result<File> {
    let file = open(path, options, libc::O_NOFOLLOW)?;
    if file.metadata()?.mode() & OTHERS_WRITE != 0 {
        file.set_permissions(Permissions::from_mode(FILE))?;
    }
    Ok(file)
}

/// Reads a file of Weft's own.
///
/// # Errors
/// As [`read`].
pub fn read_own(path: &Path) -> Result<Vec<u8>> {
    let options = &mut OpenOptions::new();
    read_all(open(path, options.read(true), libc::O_NOFOLLOW)?)
}

/// Makes a file that no other process has: one that a killed call has left, or a link in its place, goes.
///
/// # Errors
/// The system's.
pub fn create_own(path: &Path) -> Result<File> {
    let make = || {
        let options = &mut OpenOptions::new();
        open_own(path, options.read(true).write(true).create_new(true))
    };
    match make() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            make()
        }
        outcome => outcome,
    }
}

/// Writes a file of Weft's own, whole or not at all, by way of another name.
///
/// # Errors
/// The system's; nothing is changed then.
pub fn replace_own(path: &Path, by_way_of: &Path, bytes: &[u8], sync: bool) -> Result<()> {
    let write = || {
        let mut file = create_own(by_way_of)?;
        file.write_all(bytes)?;
        if sync {
            file.sync_data()?;
        }
        fs::rename(by_way_of, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(by_way_of);
    })
}

/// Makes a directory of Weft's own with those above it, if it is missing. One that is there keeps its mode.
///
/// # Errors
/// The system's.
pub fn make_own_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(DIRECTORY).create(path)
}

/// Whether others than the superuser may write a file or directory, or change what is in it.
pub fn is_open_to_others(path: &Path) -> bool {
    let meta = fs::symlink_metadata(path);
    meta.is_ok_and(|meta| {
        !meta.is_symlink() && (meta.mode() & OTHERS_WRITE != 0 || meta.uid() != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let at = |path: &Path| read(path).unwrap_err().kind();
        assert_eq!(at(&fifo), ErrorKind::InvalidInput);
        assert_eq!(at(Path::new("/dev/zero")), ErrorKind::InvalidInput);
        assert_eq!(at(&dir.path().join("none")), ErrorKind::NotFound);
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(LIMIT + 1).unwrap();
        assert_eq!(at(&large), ErrorKind::FileTooLarge);
        let mut options = OpenOptions::new();
        assert!(open_own(&fifo, options.write(true).create(true)).is_err());
    }

    #[test]
    fn own_files_are_the_superusers_and_no_links() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "theirs").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o666)).unwrap();
        symlink(&target, &link).unwrap();
        let write = || OpenOptions::new().write(true).create(true).clone();
        assert!(open_own(&link, &mut write()).is_err());
        assert!(read_own(&link).is_err());
        assert_eq!(read(&link).unwrap(), b"theirs");
        open_own(&target, &mut write()).unwrap();
        assert_eq!(mode(&target), 0o600);
        let own = dir.path().join("own");
        replace_own(&own, &link, b"ours", false).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"theirs");
        assert_eq!(
            (fs::read(&own).unwrap(), mode(&own)),
            (b"ours".to_vec(), 0o600)
        );
        let sub = dir.path().join("a/b");
        make_own_dir(&sub).unwrap();
        assert_eq!(mode(&sub), 0o700);
        assert!(!link.exists());
    }
}
