//! A plugin's word to the daemon: early, short, and waited for a moment at most.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::{Control, control_socket};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poked {
    /// No daemon runs.
    Absent,
    /// It knows what the store says.
    Known,
    /// It does not answer. Nobody waits for it during the next second.
    Late,
}

/// Nobody waits for a daemon again this soon after somebody has waited in vain.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells the daemon that the store has changed, and waits until it knows, `limit` at most.
pub fn poke(state_dir: &Path, limit: Duration) -> Poked {
    let mark = state_dir.join("weftd.late");
    if is_recent(&mark) {
        return Poked::Late;
    }
    match try_poke(state_dir, limit) {
        Ok(()) => Poked::Known,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            Poked::Absent
        }
        Err(_) => {
            // Its time of change is all that counts.
            let _ = File::create(&mark).and_then(|file| file.set_modified(SystemTime::now()));
            Poked::Late
        }
    }
}

fn is_recent(mark: &Path) -> bool {
    let changed = std::fs::symlink_metadata(mark).and_then(|there| there.modified());
    changed.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < PAUSE))
}

fn try_poke(state_dir: &Path, limit: Duration) -> std::io::Result<()> {
    // Without blocking: a daemon that has stopped accepts nobody, and its queue fills.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(
        socket.as_raw_fd(),
        &UnixAddr::new(&control_socket(state_dir))?,
    )?;
    let mut stream = UnixStream::from(socket);
    let mut line = serde_json::to_vec(&Control::Poke)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, timeout)? == 0 {
        return Err(Errno::ETIMEDOUT.into());
    }
    // One that ends while it is waited for says nothing.
    match stream.read(&mut [0; 64])? {
        0 => Err(ErrorKind::ConnectionRefused.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn nobody_waits_for_what_does_not_answer() {
        let dir = tempfile::tempdir().unwrap();
        let limit = Duration::from_millis(20);
        assert_eq!(poke(dir.path(), limit), Poked::Absent);
        let listener = UnixListener::bind(control_socket(dir.path())).unwrap();
        let start = Instant::now();
        assert_eq!(poke(dir.path(), limit), Poked::Late);
        assert!(start.elapsed() >= limit);
        let start = Instant::now();
        assert_eq!(poke(dir.path(), Duration::from_secs(60)), Poked::Late);
        assert!(start.elapsed() < Duration::from_secs(30), "waited again");
        drop(listener);
        std::fs::remove_file(dir.path().join("weftd.late")).unwrap();
        assert_eq!(poke(dir.path(), limit), Poked::Absent);
    }

    #[test]
    fn what_answers_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(control_socket(dir.path())).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                assert_eq!(line, "\"poke\"\n");
                (&stream).write_all(b"{}\n").unwrap();
            });
            assert_eq!(poke(dir.path(), Duration::from_secs(60)), Poked::Known);
        });
    }
}
