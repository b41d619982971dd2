//! The process that answers.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::channel::{self, Message};

/// A process that does not take a message for so long is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The process that answers, and the socket to it.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    channel: UnixStream,
    /// The last number it was told to say, and the last one it has said.
    asked: u64,
    pub(super) said: u64,
    asked_at: Option<Instant>,
    half: Vec<u8>,
    started: Instant,
}

impl Child {
    /// Starts it: this program once more, which gives up its rights by itself. Numbers go on behind `asked`.
    pub(super) fn start(asked: u64) -> Result<Self> {
        /// The program that runs, though another one may be in its place by now.
        const THIS: &str = "/proc/self/exe";
        let (channel, other) = UnixStream::pair().context("a socket pair cannot be made")?;
        channel
            .set_write_timeout(Some(PATIENCE))
            .context("the socket to the part that answers")?;
        #[expect(clippy::disallowed_methods, reason = "the daemon is no plugin")]
        let process = Command::new(THIS)
            .arg0("weftd")
            .arg("answer")
            .stdin(Stdio::from(OwnedFd::from(other)))
            .spawn()
            .context("the part that answers cannot be started")?;
        Ok(Self {
            process,
            channel,
            asked,
            said: 0,
            asked_at: None,
            half: Vec::new(),
            started: Instant::now(),
        })
    }

    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    pub(super) fn tell(&self, message: &Message) -> Result<()> {
        self.hand_over::<OwnedFd>(message, &[])
    }

    /// Tells something with sockets beside it.
    pub(super) fn hand_over<S: AsFd>(&self, message: &Message, sockets: &[S]) -> Result<()> {
        channel::send(&self.channel, message, sockets)
            .context("the part that answers cannot be told")
    }

    /// Asks it to say when it knows all that it was told; by which number.
    pub(super) fn sync(&mut self) -> Result<u64> {
        self.asked += 1;
        self.asked_at.get_or_insert_with(Instant::now);
        self.tell(&Message::Sync { number: self.asked })?;
        Ok(self.asked)
    }

    /// Reads what it says; false at its end.
    pub(super) fn hear(&mut self) -> bool {
        const NUMBER: usize = size_of::<u64>();
        let mut bytes = [0; 64];
        let Ok(length @ 1..) = self.channel.read(&mut bytes) else {
            return false;
        };
        self.half.extend(bytes.iter().take(length));
        let whole = self.half.len() / NUMBER * NUMBER;
        for number in self.half.drain(..whole).as_slice().chunks_exact(NUMBER) {
            self.said = number.try_into().map_or(self.said, u64::from_be_bytes);
        }
        // Whatever it says, it is alive.
        self.asked_at = (self.said < self.asked).then(Instant::now);
        true
    }

    /// The last number that it was to say.
    pub(super) const fn asked(&self) -> u64 {
        self.asked
    }

    /// For how long it has run.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// For how long it has been asked in vain.
    pub(super) fn silence(&self) -> Duration {
        self.asked_at
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Lets it answer what it has, and end.
    pub(super) fn drain(mut self, most: Duration) {
        let deadline = Instant::now() + most;
        if self.tell(&Message::Drain).is_ok() {
            while self.is_alive() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Readable when it has said something or has ended.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
