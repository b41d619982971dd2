//! What others take away and Weft puts back: its ruleset, and the host's way to containers on a parent.
//!
//! It runs beside everything else: names do not wait for a large ruleset.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weft_kernel::monitor::{Event, Monitor, Topic};
use weft_node::{Host, HostConfig};

/// Everything is compared again after this time.
const AUDIT: Duration = Duration::from_secs(60);
/// Changes of one kind that come together are looked at together, and no more often than this.
const TOGETHER: Duration = Duration::from_millis(200);
/// A difference may be a call of a plugin on its way; it is none if it is there for so long.
const PATIENCE: Duration = Duration::from_secs(2);

/// As the kernel names it to those that follow the ruleset.
const THREAD: &str = "mend";

/// Begins, in a thread of its own.
pub(super) fn start(config: &HostConfig) -> Result<()> {
    let mut mend = Mend {
        host: Host::open(config),
        ruleset: Monitor::of_ruleset().context("changes of the ruleset cannot be followed")?,
        routing: Monitor::of_routing(&[Topic::Addresses])
            .context("changes of addresses cannot be followed")?,
        audited: Instant::now(),
        is_due: false,
    };
    let thread = std::thread::Builder::new().name(THREAD.to_owned());
    thread
        .spawn(move || mend.follow())
        .context("a thread cannot be started")?;
    Ok(())
}

#[derive(Debug)]
struct Mend {
    host: Host,
    ruleset: Monitor,
    routing: Monitor,
    audited: Instant,
    is_due: bool,
}

impl Mend {
    fn follow(&mut self) {
        loop {
            if let Err(error) = self.once() {
                tracing::warn!("{error:#}");
                std::thread::sleep(PATIENCE);
                self.is_due = true;
            }
        }
    }

    fn once(&mut self) -> Result<()> {
        // What could not be looked at is looked at again.
        let most = if self.is_due { PATIENCE } else { AUDIT };
        let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        let mut both = [
            PollFd::new(self.ruleset.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.routing.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut both, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("waiting for changes"),
        }
        let [ruleset, routing] = both.map(|one| one.any().unwrap_or(false));
        std::thread::sleep(TOGETHER);
        if ruleset && self.ruleset.read()?.iter().any(is_of_others) {
            self.mend_ruleset()?;
        }
        if routing && !self.routing.read()?.is_empty() {
            weft_attach::mend_host_access(&mut self.host)?;
        }
        if self.is_due || self.audited.elapsed() >= AUDIT {
            (self.is_due, self.audited) = (false, Instant::now());
            self.mend_ruleset()?;
            weft_attach::mend_host_access(&mut self.host)?;
        }
        Ok(())
    }

    /// Puts the ruleset back: at once if it is gone, else what is missing for longer than any call takes.
    fn mend_ruleset(&mut self) -> Result<()> {
        let differences = |host: &mut Host| {
            weft_firewall::differences::differences(host).context("the ruleset cannot be compared")
        };
        let first = differences(&mut self.host)?;
        if first.is_empty() {
            return Ok(());
        }
        if weft_firewall::differences::has_tables(&mut self.host)? {
            std::thread::sleep(PATIENCE);
            // Calls come and go: what counts is what was there all the time.
            let second = differences(&mut self.host)?;
            if !second.iter().any(|one| first.contains(one)) {
                return Ok(());
            }
        }
        let before = weft_firewall::differences::reload(&mut self.host)
            .context("the ruleset cannot be put back")?;
        tracing::warn!(
            differences = before.len(),
            "somebody has changed Weft's ruleset: it is as it should be again"
        );
        Ok(())
    }
}

/// Whether a change of the ruleset is not one of Weft's own programs.
fn is_of_others(event: &Event) -> bool {
    let Event::Ruleset { by, .. } = event else {
        return true;
    };
    let is_own = |name: &str| name.starts_with("weft") || name == THREAD;
    by.as_ref().is_none_or(|(_, name)| !is_own(name))
}
