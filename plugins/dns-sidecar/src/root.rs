//! The root part: it follows Weft's store, and tells the part that answers what has changed.

mod child;
mod control;
mod inside;
mod local;
mod mend;
mod mirror;
mod network;
pub(crate) mod overlay;
mod record;
mod resolver;
mod sockets;
mod supervisor;
mod upstreams;
mod warp;
mod watch;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use weft_api::daemon::{Control as Request, StepLine};
use weft_cni::env::Env;
use weft_node::{Host, HostConfig};

use crate::channel::Message;
use crate::config::Settings;
use child::Child;
use control::Control;
use inside::Inside;
pub(crate) use local::{be_alone, listen};
use mirror::Mirror;
use resolver::Resolver;
use sockets::Sockets;
use supervisor::Supervisor;
use watch::Watch;

/// Everything is looked at again after this time, though nothing has been heard of.
const AUDIT: Duration = Duration::from_secs(60);
/// Changes that come together are read together, unless somebody waits.
const TOGETHER: Duration = Duration::from_millis(2);
/// How often the part that answers is asked whether it is alive, and when it is given up.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Its forwarded questions take less.
const DRAIN: Duration = Duration::from_millis(4500);
/// The store is not waited for longer: the supervisor wants to hear something.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// A part that ends at once is started again after a time that grows to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// One that has run for so long has not ended at once.
const HEALTHY: Duration = Duration::from_secs(10);

/// Runs until a signal ends it.
pub(crate) fn run(env: &Env) -> Result<()> {
    let mut config = HostConfig::read(env)?;
    config.lock_timeout = config.lock_timeout.min(STORE_PATIENCE);
    let settings = Settings::read(env)?;
    let overlays = overlay::read(env)?;
    let is_warp_configured = is_warp_configured(env)?;
    raise_limit_of_files();
    for dir in [&config.state_dir, &config.data_dir] {
        weft_cni::file::make_own_dir(dir)
            .with_context(|| format!("{} cannot be made", dir.display()))?;
    }
    let _alone = be_alone(&config.state_dir, "weftd.lock")?;
    let signals = signals()?;
    mend::start(&config)?;
    let shared = overlay::shared_bridges(&overlays);
    let duty = overlay::Duty::start(&config, overlays)?;
    let mut root = Root::start(env, config, settings, duty)?;
    root.mirror.share(shared);
    root.warp_configured = is_warp_configured;
    root.follow(&signals)?;
    root.stop();
    Ok(())
}

fn is_warp_configured(env: &Env) -> Result<bool> {
    Ok(crate::warp::read(env, &crate::warp::Flags::default())?.is_enabled)
}

/// Sockets of all networks, and of questions to others.
pub(crate) fn raise_limit_of_files() {
    let limit = getrlimit(Resource::RLIMIT_NOFILE);
    let raised = limit.and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!("the limit of open files stays as it is: {errno}");
    }
}

/// Signals that are read in the loop in place of interrupting it.
fn signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block().context("signals cannot be held back")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("signals cannot be read")
}

/// What has happened since the loop last looked.
#[derive(Debug, Default)]
struct Happened {
    store: bool,
    connections: bool,
    config: bool,
    resolv_conf: bool,
    /// The directory of the store is gone, and with it the sockets by which plugins come.
    is_homeless: bool,
    is_to_stop: bool,
}

impl Happened {
    /// Nobody knows what.
    const fn everything() -> Self {
        Self {
            store: true,
            connections: true,
            config: true,
            resolv_conf: true,
            is_homeless: false,
            is_to_stop: false,
        }
    }
}

struct Root {
    env: Env,
    host: Host,
    settings: Settings,
    settings_told: bool,
    overlays: overlay::Duty,
    warp: warp::Warp,
    /// weft.toml has a table [warp].
    warp_configured: bool,
    mirror: Mirror,
    sockets: Sockets,
    inside: Inside,
    upstreams: upstreams::Upstreams,
    resolver: Resolver,
    local: [OwnedFd; 2],
    control: Control,
    watch: Watch,
    child: Child,
    supervisor: Supervisor,
    troubles: Vec<String>,
    /// The store has been read once: what is not in it is not there.
    is_read: bool,
    /// It could not be read since it has changed.
    is_unread: bool,
    /// The part that answers has not taken what it was told.
    is_lost: bool,
    pause: Duration,
    is_ready: bool,
    audited: Instant,
    beaten: Instant,
}

impl Root {
    fn start(
        env: &Env,
        config: HostConfig,
        settings: Settings,
        overlays: overlay::Duty,
    ) -> Result<Self> {
        let (supervisor, inherited) = Supervisor::find();
        let host = Host::open(&config);
        let now = Instant::now();
        Ok(Self {
            env: env.clone(),
            settings,
            settings_told: false,
            overlays,
            warp: warp::Warp::new(env, &config.state_dir),
            warp_configured: false,
            mirror: Mirror::default(),
            sockets: Sockets::with(inherited),
            inside: Inside::new()?,
            upstreams: upstreams::Upstreams::default(),
            resolver: Resolver::default(),
            local: local::listeners(&config)?,
            control: Control::listen(&config.state_dir)?,
            watch: Watch::start(&config, &env.config_file())?,
            child: Child::start(0)?,
            supervisor,
            host,
            troubles: Vec::new(),
            is_read: false,
            is_unread: false,
            is_lost: false,
            pause: Duration::ZERO,
            is_ready: false,
            audited: now,
            beaten: now,
        })
    }

    fn follow(&mut self, signals: &SignalFd) -> Result<()> {
        tracing::info!(store = %self.host.store.path().display(), "weftd follows the store");
        self.tell_beginning()?;
        let mut happened = Happened {
            store: true,
            connections: true,
            ..Happened::default()
        };
        loop {
            if let Err(error) = self.once(&happened) {
                tracing::warn!("{error:#}");
                self.settings_told = false;
            }
            happened = self.wait(signals)?;
            if happened.is_to_stop {
                return Ok(());
            }
            if happened.is_homeless {
                bail!(
                    "{} is gone, with the sockets by which plugins reach weftd: it has to be started anew",
                    self.host.store.dir().display()
                );
            }
        }
    }

    /// What a process that answers needs besides names.
    fn tell_beginning(&mut self) -> Result<()> {
        let [dns, status] = &self.local;
        self.child
            .hand_over(&Message::Control, std::slice::from_ref(dns))?;
        self.child
            .hand_over(&Message::Status, std::slice::from_ref(status))?;
        self.tell_way_of_overlays()?;
        self.settings_told = false;
        self.upstreams.forget_told();
        self.sockets.forget_told();
        self.inside.forget_told();
        self.mirror.forget_told();
        self.troubles.clear();
        Ok(())
    }

    /// Overlays have a socket of their own between the two parts.
    fn tell_way_of_overlays(&self) -> Result<()> {
        let (own, other) = UnixStream::pair().context("a socket pair cannot be made")?;
        self.child.hand_over(&Message::Peers, &[other])?;
        self.overlays.speak_by(own);
        Ok(())
    }

    fn once(&mut self, happened: &Happened) -> Result<()> {
        self.keep_child_alive()?;
        if self.overlays.takes_another_way() {
            self.tell_way_of_overlays()?;
        }
        if happened.config {
            self.reload();
        }
        let looked = self.look(happened);
        if let Err(error) = &looked {
            self.control.refuse(&format!("{error:#}"));
        }
        if self.is_read {
            let is_wanted = self.warp_configured || self.mirror.has_warped();
            self.warp.be(is_wanted);
        }
        // What is known is told, whatever cannot be read.
        let told = self.tell().and_then(|()| self.sync());
        self.is_lost = told.is_err();
        looked.and(told)
    }

    fn sync(&mut self) -> Result<()> {
        let is_due = self.beaten.elapsed() >= HEARTBEAT || !self.is_ready;
        if is_due || self.control.has_new() {
            let number = self.child.sync()?;
            self.control.wait_for(number);
            self.beaten = Instant::now();
        }
        Ok(())
    }

    fn look(&mut self, happened: &Happened) -> Result<()> {
        let is_due = self.audited.elapsed() >= AUDIT;
        if happened.resolv_conf || is_due {
            self.upstreams.forget_told();
        }
        if happened.connections || is_due {
            self.mirror.look_at_connections(&self.host);
        }
        if is_due {
            self.resolver.forget_told();
            self.audited = Instant::now();
        }
        if happened.store || happened.config || self.is_unread || is_due || self.control.has_new() {
            let looked = self.mirror.look(&self.host);
            self.is_unread = looked.is_err();
            self.is_read |= looked.is_ok();
            looked.context("the store cannot be read")?;
        }
        Ok(())
    }

    fn keep_child_alive(&mut self) -> Result<()> {
        let is_deaf = self.child.silence() > 2 * HEARTBEAT;
        if self.child.is_alive() && !is_deaf && !self.is_lost {
            return Ok(());
        }
        let why = match is_deaf || self.is_lost {
            true => "does not answer",
            false => "has ended",
        };
        tracing::warn!("the part that answers {why}, and is started again");
        std::thread::sleep(self.pause);
        let was_healthy = self.child.age() >= HEALTHY;
        // As long as none can be started it grows, too.
        self.pause = (2 * self.pause).clamp(Duration::from_millis(20), LONGEST_PAUSE);
        self.child = Child::start(self.child.asked())?;
        if was_healthy {
            self.pause = Duration::ZERO;
        }
        self.is_ready = false;
        let told = self.tell_beginning();
        self.is_lost = told.is_err();
        told
    }

    fn reload(&mut self) {
        let read = Settings::read(&self.env);
        let all = read.and_then(|settings| {
            let overlays = overlay::read(&self.env)?;
            Ok((settings, overlays, is_warp_configured(&self.env)?))
        });
        match all {
            Ok((settings, overlays, is_warp_configured)) => {
                self.warp_configured = is_warp_configured;
                self.warp.reload();
                self.control.failed = None;
                self.mirror.share(overlay::shared_bridges(&overlays));
                self.overlays.want(overlays);
                if settings != self.settings {
                    tracing::info!("weft.toml is read again");
                    self.settings = settings;
                    self.settings_told = false;
                }
            }
            Err(error) => {
                let text = format!("{error:#}; what was read before stays in force");
                tracing::error!("{text}");
                self.control.failed = Some(text);
            }
        }
    }

    fn tell(&mut self) -> Result<()> {
        if !self.settings_told {
            self.child.tell(&Message::Settings(self.settings.clone()))?;
            self.settings_told = true;
        }
        self.upstreams.tell(&self.child)?;
        for message in self.mirror.take_news() {
            self.child.tell(&message)?;
        }
        if let Some(ports) = self.mirror.take_ports() {
            self.overlays.know(ports);
        }
        if self.is_read {
            let wanted = self.mirror.servers();
            self.sockets.be(&wanted, &self.child, &self.supervisor)?;
            self.inside
                .be(self.mirror.inside(), &self.child, &self.watch)?;
            let networks = self.mirror.networks().cloned().collect();
            self.resolver.be(
                self.settings.host_resolver.then_some(networks),
                &mut self.host,
                &self.settings.domain,
            );
        }
        let refused = (self.sockets.refused.values()).chain(self.inside.refused.values());
        let troubles: Vec<String> = refused.chain(&self.mirror.trouble).cloned().collect();
        if troubles != self.troubles {
            self.child.tell(&Message::Troubles {
                texts: troubles.clone(),
            })?;
            self.control.troubles.clone_from(&troubles);
            self.troubles = troubles;
        }
        Ok(())
    }

    /// Waits for something to do.
    fn wait(&mut self, signals: &SignalFd) -> Result<Happened> {
        let due = HEARTBEAT.min(self.supervisor.interval().unwrap_or(HEARTBEAT));
        let timeout = PollTimeout::try_from(due).unwrap_or(PollTimeout::MAX);
        let mut all = [
            PollFd::new(self.watch.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.child.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut all, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("waiting for changes"),
        }
        let [changes, child, signal, control] = all.map(|one| one.any().unwrap_or(false));
        let mut happened = Happened::default();
        if child && self.child.hear() {
            self.has_said();
        }
        // Without a part that answers the supervisor is to do something.
        if self.child.silence() <= 2 * HEARTBEAT && self.child.is_alive() {
            self.supervisor.is_alive();
        }
        // Whoever has made a change may be about to wait for it.
        if control || (changes && self.control.comes(TOGETHER)) {
            for (request, stream) in self.control.accept() {
                match request {
                    Request::Poke => self.control.keep(stream),
                    Request::Reload => {
                        happened.config = true;
                        self.control.keep(stream);
                    }
                    Request::Overlays => control::say(stream, &self.overlays.lines()),
                    Request::OverlayPlan => {
                        let planned = match overlay::read(&self.env) {
                            Ok(overlays) => self.overlays.plan(overlays),
                            Err(error) => vec![StepLine {
                                step: "read the file".to_owned(),
                                failure: Some(format!("{error:#}")),
                            }],
                        };
                        control::say(stream, &planned);
                    }
                    Request::OverlayApply => control::say(stream, &self.overlays.apply()),
                    Request::OverlayDown => control::say(stream, &self.overlays.down()),
                }
            }
        }
        if changes {
            self.watch.read(&mut happened);
        }
        if signal {
            while let Ok(Some(got)) = signals.read_signal() {
                let is_reload = i32::try_from(got.ssi_signo) == Ok(Signal::SIGHUP as i32);
                happened.config |= is_reload;
                happened.is_to_stop |= !is_reload;
            }
        }
        Ok(happened)
    }

    /// The part that answers knows what it was told.
    fn has_said(&mut self) {
        self.control.answer(self.child.said);
        if !self.is_ready && self.child.said > 0 {
            self.is_ready = true;
            let networks = self.mirror.networks().count();
            let status = format!("answers in {networks} networks");
            tracing::info!("{status}");
            self.supervisor.is_ready(&status);
        }
    }

    fn stop(mut self) {
        tracing::info!("weftd stops");
        self.warp.stop();
        self.overlays.stops();
        self.supervisor.stops();
        self.child.drain(DRAIN);
    }
}

/// Where a process's name servers are named.
const RESOLV_CONF: &str = "/etc/resolv.conf";

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("/"))
}
