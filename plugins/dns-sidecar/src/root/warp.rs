//! The process that leads containers through others: started where it is wanted, and again when it ends.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weft_cni::env::Env;

use crate::warp::LACKS_RIGHTS;

/// One that ends at once is started again after a time that grows to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// One that has run for so long has not ended at once.
const HEALTHY: Duration = Duration::from_secs(30);
/// One that is to stop is waited for so long.
const PATIENCE: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(super) struct Warp {
    process: Option<Child>,
    started: Instant,
    pause: Duration,
    /// It has said that it lacks a right: it is not started again.
    is_hopeless: bool,
    /// It is not wanted, and nothing of it is left.
    is_cleared: bool,
    state_dir: std::path::PathBuf,
    /// The configuration's, of which the environment of this process need not know.
    config_file: std::path::PathBuf,
}

impl Warp {
    pub(super) fn new(env: &Env, state_dir: &Path) -> Self {
        Self {
            process: None,
            started: Instant::now(),
            pause: Duration::ZERO,
            is_hopeless: false,
            is_cleared: false,
            state_dir: state_dir.to_owned(),
            config_file: env.config_file(),
        }
    }

    /// Has it run, or not.
    pub(super) fn be(&mut self, is_wanted: bool) {
        if let Err(error) = self.try_be(is_wanted) {
            tracing::warn!("warp: {error:#}");
        }
    }

    fn try_be(&mut self, is_wanted: bool) -> Result<()> {
        if let Some(process) = &mut self.process
            && let Some(status) = process.try_wait().context("its process")?
        {
            self.process = None;
            self.is_hopeless = status.code() == Some(i32::from(LACKS_RIGHTS));
            self.pause = match self.started.elapsed() >= HEALTHY {
                true => SHORTEST_PAUSE,
                false => (2 * self.pause).clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
            };
            self.started = Instant::now();
            tracing::warn!("warp has ended: {status}");
        }
        match (&self.process, is_wanted) {
            (None, true) if !self.is_hopeless && self.started.elapsed() >= self.pause => {
                self.is_cleared = false;
                self.process = Some(self.spawn()?);
                self.started = Instant::now();
            }
            (Some(_), false) => self.stop(),
            // What was led while it was wanted, by an earlier daemon too.
            (None, false) if !self.is_cleared => {
                crate::warp::clear(&self.state_dir);
                self.is_cleared = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Child> {
        /// The program that runs, though another one may be in its place by now.
        const THIS: &str = "/proc/self/exe";
        #[expect(clippy::disallowed_methods, reason = "the daemon is no plugin")]
        Command::new(THIS)
            .arg0("weftd")
            .arg("warp")
            .arg(format!("--with-parent={}", std::process::id()))
            .env("WEFT_CONFIG", &self.config_file)
            .spawn()
            .context("its process cannot be started")
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().map(Child::id);
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Has it read weft.toml again.
    pub(super) fn reload(&mut self) {
        self.is_hopeless = false;
        self.signal(Signal::SIGHUP);
    }

    /// Ends it.
    pub(super) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while let Some(process) = &mut self.process {
            match process.try_wait() {
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(None) => {
                    let _ = process.kill();
                    let _ = process.wait();
                    self.process = None;
                }
                Ok(Some(_)) | Err(_) => self.process = None,
            }
        }
    }
}

impl Drop for Warp {
    fn drop(&mut self) {
        self.stop();
    }
}
