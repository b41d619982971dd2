//! The socket by which plugins and the command line tell the daemon something. Only the superuser's words count.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use serde::Serialize;
use weft_api::daemon::{Control as Request, Done, control_socket};

use super::local;

/// What is said comes with the connection.
const PATIENCE: Duration = Duration::from_millis(50);
/// A word is no longer than this, in bytes.
const LONGEST: u64 = 256;

/// The socket, and those that wait for an answer.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    /// They came since what they mean was last told.
    new: Vec<UnixStream>,
    /// They are answered when the part that answers has said the number.
    waiting: Vec<(u64, UnixStream)>,
    /// Why the last reload failed.
    pub(super) failed: Option<String>,
    /// Why containers of some networks are not answered.
    pub(super) troubles: Vec<String>,
}

impl Control {
    pub(super) fn listen(state_dir: &Path) -> Result<Self> {
        Ok(Self {
            listener: local::listen(&control_socket(state_dir), 0o600)?,
            new: Vec::new(),
            waiting: Vec::new(),
            failed: None,
            troubles: Vec::new(),
        })
    }

    /// Whether somebody comes within a time.
    pub(super) fn comes(&self, most: Duration) -> bool {
        let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::ZERO);
        let mut one = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut one, timeout).is_ok_and(|count| count > 0)
    }

    /// Whether somebody waits for what has not been looked at yet.
    pub(super) fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// What those say that have come.
    pub(super) fn accept(&mut self) -> Vec<(Request, UnixStream)> {
        let mut all = Vec::new();
        while let Ok((stream, _)) = self.listener.accept() {
            match said(&stream) {
                Some(request) => all.push((request, stream)),
                None => tracing::warn!("somebody said nothing that is known on the control socket"),
            }
        }
        all
    }

    /// One waits until everything is known.
    pub(super) fn keep(&mut self, stream: UnixStream) {
        self.new.push(stream);
    }

    /// What the new ones mean has been told; it is known at this number.
    pub(super) fn wait_for(&mut self, number: u64) {
        self.waiting
            .extend(self.new.drain(..).map(|stream| (number, stream)));
    }

    /// Nothing can be told: those that wait hear why.
    pub(super) fn refuse(&mut self, why: &str) {
        let done = Done {
            error: Some(why.to_owned()),
            troubles: self.troubles.clone(),
        };
        for mut stream in self.new.drain(..) {
            let _ = stream.write_all(&line(&done));
        }
    }

    /// Answers those that have waited for it.
    pub(super) fn answer(&mut self, number: u64) {
        let done = Done {
            error: self.failed.clone(),
            troubles: self.troubles.clone(),
        };
        let line = line(&done);
        for (_, mut stream) in self.waiting.extract_if(.., |(wanted, _)| *wanted <= number) {
            // One that has gone is not waited for.
            let _ = stream.write_all(&line);
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Answers at once, in lines.
pub(super) fn say(mut stream: UnixStream, lines: &[impl Serialize]) {
    let mut text = Vec::new();
    for one in lines {
        text.extend(serde_json::to_vec(one).unwrap_or_default());
        text.push(b'\n');
    }
    // One that has gone is not waited for.
    let _ = stream.write_all(&text);
}

fn line(done: &Done) -> Vec<u8> {
    let mut line = serde_json::to_vec(done).unwrap_or_default();
    line.push(b'\n');
    line
}

fn said(stream: &UnixStream) -> Option<Request> {
    let who = getsockopt(stream, sockopt::PeerCredentials).ok()?;
    if who.uid() != 0 {
        return None;
    }
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST))
        .read_line(&mut line)
        .ok()?;
    serde_json::from_str(&line).ok()
}
