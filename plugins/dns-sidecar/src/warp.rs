//! Warp: what containers send goes through other containers. A process of its own, which needs the superuser's rights: it
//! enters namespaces.

mod attached;
mod check;
mod config;
mod control;
mod duty;
mod facts;
mod figures;
mod http;
mod managed;
mod newborn;
mod off;
mod readable;
mod record;
mod source;
#[cfg(feature = "ssl")]
mod tls;
mod watching;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Uid, getppid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tracing_subscriber::filter::LevelFilter;
use weft_api::daemon::WarpRequest;
use weft_cni::env::Env;
use weft_node::HostConfig;
use weft_warp::{Logging, Source, WarpConfig};

pub(crate) use config::{Flags, read};

use duty::Duty;
use http::Place;
use newborn::{Awaited, Newborn};
use source::{Monitor, Said};
use watching::Noticed;

/// Everything is looked at again after this time.
const AUDIT: Duration = Duration::from_secs(30);

/// The store is not waited for longer: containers would not be closed meanwhile.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// What `weftd warp` does.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Warp {
    /// Tell whether the configuration can be understood, and what of it cannot work here
    Check {
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Remove every rule and route of Weft's from containers
    Off,
}

/// A task that ends with the value.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The exit status of a process that lacks a right. It is not started again.
pub(crate) const LACKS_RIGHTS: u8 = 77;

/// That a right is missing.
#[derive(Debug)]
pub(crate) struct Unprivileged(&'static str);

impl std::fmt::Display for Unprivileged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "warp needs {} to change routes in containers' namespaces: run it as the superuser",
            self.0
        )
    }
}

impl std::error::Error for Unprivileged {}

/// Refuses, in one line, what the kernel would refuse at each container.
fn require_rights() -> Result<(), Unprivileged> {
    const CAP_NET_ADMIN: u64 = 12;
    const CAP_SYS_PTRACE: u64 = 19;
    const CAP_SYS_ADMIN: u64 = 21;
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|one| one.strip_prefix("CapEff:"));
    let effective = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    let effective = effective.unwrap_or_else(|| match Uid::effective().is_root() {
        true => u64::MAX,
        false => 0,
    });
    for (bit, name) in [
        (CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
        (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
        (CAP_SYS_PTRACE, "CAP_SYS_PTRACE"),
    ] {
        if effective & (1 << bit) == 0 {
            return Err(Unprivileged(name));
        }
    }
    Ok(())
}

/// Runs one of the commands.
///
/// # Errors
/// What is wrong.
pub(crate) fn command(env: &Env, what: &Warp) -> Result<()> {
    match what {
        Warp::Check { flags } => runtime()?.block_on(check::run(env, flags)),
        Warp::Off => {
            require_rights()?;
            off::run(env)
        }
    }
}

/// Warp is not wanted: nothing of it stays in containers of Docker and Podman.
pub(crate) fn clear(state_dir: &Path) {
    if state_dir.join("warp").is_dir()
        && let Err(error) = off::clear(state_dir)
    {
        tracing::warn!("warp: {error:#}");
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("tokio cannot start")
}

/// How much is said, of the file; `WEFT_LOG` counts before it.
pub(crate) fn level(env: &Env, flags: &Flags) -> Option<LevelFilter> {
    Some(match read(env, flags).ok()?.logging {
        Logging::Error => LevelFilter::ERROR,
        Logging::Warn => LevelFilter::WARN,
        Logging::Info => LevelFilter::INFO,
        Logging::Debug => LevelFilter::DEBUG,
    })
}

/// Runs until a signal ends it.
///
/// # Errors
/// The configuration's; that rights are missing, or that another one runs.
pub(crate) fn run(env: &Env, flags: &Flags) -> Result<()> {
    if let Some(parent) = flags.with_parent {
        set_pdeathsig(Signal::SIGTERM).context("the end of the other process is not heard of")?;
        // It may have ended before.
        if getppid().as_raw() != parent {
            return Ok(());
        }
    }
    let mut host = HostConfig::read(env)?;
    host.lock_timeout = host.lock_timeout.min(STORE_PATIENCE);
    let config = read(env, flags)?;
    require_rights()?;
    crate::root::raise_limit_of_files();
    weft_cni::file::make_own_dir(&host.state_dir)
        .with_context(|| format!("{} cannot be made", host.state_dir.display()))?;
    let _alone = crate::root::be_alone(&host.state_dir, "warp.lock")?;
    runtime()?.block_on(follow(env, flags, &host, config))
}

/// What comes from elsewhere.
struct Inputs {
    said: UnboundedReceiver<Said>,
    born: UnboundedReceiver<Newborn>,
    noticed: UnboundedReceiver<Noticed>,
    questions: UnboundedReceiver<control::Question>,
}

/// Tasks that follow runtimes and directories.
struct Followers {
    said: UnboundedSender<Said>,
    born: UnboundedSender<Newborn>,
    awaited: Awaited,
    places: Vec<(Source, Place, Option<String>)>,
    monitors: Vec<Task>,
    directories: BTreeSet<(Source, PathBuf)>,
    watches: Vec<Task>,
}

impl Followers {
    /// Follows what the configuration names, and nothing else.
    fn be(&mut self, config: &WarpConfig) -> Result<()> {
        let mut places = Vec::new();
        if config.is_enabled {
            let version = config.docker.api_version.clone();
            let docker = Place::of_docker(&config.docker)?;
            places.extend(docker.map(|place| (Source::Docker, place, version)));
            let podman = config.podman.socket.clone().map(Place::Socket);
            places.extend(podman.map(|place| (Source::Podman, place, None)));
        }
        if places != self.places {
            self.monitors = (places.iter().cloned())
                .map(|(source, place, version)| {
                    let monitor = Monitor {
                        source,
                        place,
                        version,
                        said: self.said.clone(),
                        looks: Arc::new(Semaphore::new(source::LOOKS)),
                    };
                    Task(tokio::spawn(monitor.follow()))
                })
                .collect();
            self.places = places;
        }
        for (source, ..) in &self.places.clone() {
            let directory = match source {
                Source::Docker => &config.docker.netns_dir,
                Source::Podman => &config.podman.netns_dir,
                Source::Cni => continue,
            };
            self.watch(*source, directory.clone());
        }
        Ok(())
    }

    /// Watches a directory of namespaces, once.
    fn watch(&mut self, source: Source, directory: PathBuf) {
        if self.directories.insert((source, directory.clone())) {
            let (awaited, born) = (Awaited::clone(&self.awaited), self.born.clone());
            let watched = newborn::watch(source, directory, awaited, born);
            self.watches.push(Task(tokio::spawn(watched)));
        }
    }

    /// A container's namespace tells where those of its runtime are.
    fn learn(&mut self, said: &Said) {
        if let Said::Container(id, container, _) = said
            && let Some(place) = &container.netns
            && let Some(directory) = place.path.parent()
            && !directory.starts_with("/proc")
        {
            self.watch(id.source, directory.to_owned());
        }
    }
}

async fn follow(env: &Env, flags: &Flags, host: &HostConfig, config: WarpConfig) -> Result<()> {
    let awaited = Awaited::default();
    let (said_by, said) = unbounded_channel();
    let (born_by, born) = unbounded_channel();
    let (noticed_by, noticed) = unbounded_channel();
    let (asked_by, questions) = unbounded_channel();
    let listener = control::listen(&host.state_dir)?;
    let _questions = Task(tokio::spawn(control::take(listener, asked_by)));
    let mut followers = Followers {
        said: said_by,
        born: born_by,
        awaited: Awaited::clone(&awaited),
        places: Vec::new(),
        monitors: Vec::new(),
        directories: BTreeSet::new(),
        watches: Vec::new(),
    };
    followers.be(&config)?;
    if !config.is_enabled {
        clear(&host.state_dir);
    }
    attached::follow(host, followers.said.clone())?;
    let mut duty = Duty::new(config, host, awaited, noticed_by)?;
    let inputs = Inputs {
        said,
        born,
        noticed,
        questions,
    };
    tracing::info!("warp follows containers");
    let served = serve(&mut duty, &mut followers, inputs, || read(env, flags)).await;
    if duty.engine.config().remove_at_stop {
        duty.switch(true);
    }
    served
}

async fn serve(
    duty: &mut Duty,
    followers: &mut Followers,
    mut inputs: Inputs,
    read: impl Fn() -> Result<WarpConfig>,
) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("signals cannot be read")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("signals cannot be read")?;
    let mut hung_up = signal(SignalKind::hangup()).context("signals cannot be read")?;
    // The process that has started this one holds signals back, and what it starts does so too, until now.
    SigSet::all()
        .thread_unblock()
        .context("signals cannot be let through")?;
    let mut audit = tokio::time::interval(AUDIT);
    // What namespaces are looked for is said anew once for all that has come together.
    let mut is_unexpected = false;
    // The first one is at once: nothing is known yet.
    audit.tick().await;
    loop {
        tokio::select! {
            biased;
            _ = terminated.recv() => return Ok(()),
            _ = interrupted.recv() => return Ok(()),
            Some(noticed) = inputs.noticed.recv() => {
                let mut all = BTreeSet::from([format!("{noticed:?}")]);
                duty.notice(&noticed);
                // One change makes many events.
                while let Ok(next) = inputs.noticed.try_recv() {
                    if all.insert(format!("{next:?}")) {
                        duty.notice(&next);
                    }
                }
            }
            Some(newborn) = inputs.born.recv() => {
                duty.born(newborn);
                is_unexpected = true;
            }
            Some(said) = inputs.said.recv() => {
                followers.learn(&said);
                duty.hear(said);
                is_unexpected = true;
            }
            Some((request, answer)) = inputs.questions.recv() => {
                let bytes = match request == WarpRequest::Reload {
                    true => control::reloaded(reload(duty, followers, &read).err()),
                    false => control::reply(duty, &request),
                };
                let _ = answer.send(bytes);
            }
            () = std::future::ready(()), if is_unexpected && inputs.said.is_empty() && inputs.born.is_empty() => {
                duty.expect();
                is_unexpected = false;
            }
            _ = hung_up.recv() => drop(reload(duty, followers, &read)),
            _ = audit.tick() => duty.audit(),
        }
    }
}

fn reload(
    duty: &mut Duty,
    followers: &mut Followers,
    read: &impl Fn() -> Result<WarpConfig>,
) -> Result<(), String> {
    let read = read().and_then(|config| followers.be(&config).map(|()| config));
    match read {
        Ok(config) => {
            duty.forget_sources(
                &followers
                    .places
                    .iter()
                    .map(|(source, ..)| *source)
                    .collect(),
            );
            duty.configure(config);
            Ok(())
        }
        Err(error) => {
            let text = format!("{error:#}; what was read before stays in force");
            tracing::error!("{text}");
            Err(text)
        }
    }
}
