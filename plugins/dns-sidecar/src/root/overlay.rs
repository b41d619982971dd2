//! Overlays of this host: what weft.toml wants of them is made, and put back when somebody takes it away.
//!
//! A thread of its own follows the kernel. Devices outlive the daemon; what it has made and is not wanted any more goes.

mod kernel;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weft_api::daemon::{OverlayLine, StepLine};
use weft_cni::env::Env;
use weft_kernel::KernelError;
use weft_kernel::monitor::{Event, Monitor, Topic};
use weft_overlay::{Key, Objects, Overlay, Overlays, Step, desired, plan, underlay};

use kernel::Kernel;
use record::Record;

/// Everything is looked at again after this time.
const AUDIT: Duration = Duration::from_secs(60);
/// The same after a step that has failed.
const AGAIN: Duration = Duration::from_secs(5);
/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(10);
/// Whoever asks for something waits for it for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the tables of weft.toml.
///
/// # Errors
/// The file, with line and key for what cannot be understood; all that is wrong otherwise.
pub(crate) fn read(env: &Env) -> Result<Overlays> {
    let path = env.config_file();
    let text = match weft_cni::file::read_text(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Overlays::default());
        }
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let overlays: Overlays = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let problems = overlays.problems();
    if !problems.is_empty() {
        bail!("{}: {}", path.display(), problems.join("; "));
    }
    Ok(overlays)
}

/// What the thread is told, with where it says what it has done.
enum Word {
    Want(Overlays),
    Plan(Sender<Vec<StepLine>>),
    Apply(Sender<Vec<StepLine>>),
    Down(Sender<Vec<StepLine>>),
}

/// The thread, as the root part's loop sees it.
pub(super) struct Duty {
    words: Sender<Word>,
    wake: UnixStream,
    lines: Arc<Mutex<Vec<OverlayLine>>>,
}

impl Duty {
    /// Starts it.
    pub(super) fn start(data_dir: &Path, overlays: Overlays) -> Result<Self> {
        let (wake, woken) = UnixStream::pair().context("a socket pair cannot be made")?;
        woken.set_nonblocking(true)?;
        let (words, told) = channel();
        let lines = Arc::default();
        let mut overlay = Following {
            kernel: Kernel::open()?,
            monitor: Monitor::of_routing(&[Topic::Links, Topic::Addresses, Topic::Neighbours])
                .context("changes of interfaces cannot be followed")?,
            record: Record::open(data_dir)?,
            overlays,
            is_down: false,
            told,
            woken,
            lines: Arc::clone(&lines),
        };
        let thread = std::thread::Builder::new().name("overlay".to_owned());
        thread
            .spawn(move || overlay.follow())
            .context("a thread cannot be started")?;
        Ok(Self { words, wake, lines })
    }

    fn say(&self, word: Word) {
        // The thread ends with the process alone.
        let _ = self.words.send(word);
        let _ = (&self.wake).write(&[0]);
    }

    pub(super) fn want(&self, overlays: Overlays) {
        self.say(Word::Want(overlays));
    }

    /// How they are.
    pub(super) fn lines(&self) -> Vec<OverlayLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    fn ask(&self, word: impl FnOnce(Sender<Vec<StepLine>>) -> Word) -> Vec<StepLine> {
        let (sender, receiver) = channel();
        self.say(word(sender));
        receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            vec![StepLine {
                step: "look at the kernel".to_owned(),
                failure: Some(format!(
                    "not done within {PATIENCE:?}: weft overlay ls says more later"
                )),
            }]
        })
    }

    /// What would be changed.
    pub(super) fn plan(&self) -> Vec<StepLine> {
        self.ask(Word::Plan)
    }

    /// Changes it.
    pub(super) fn apply(&self) -> Vec<StepLine> {
        self.ask(Word::Apply)
    }

    /// Removes all of them.
    pub(super) fn down(&self) -> Vec<StepLine> {
        self.ask(Word::Down)
    }
}

struct Following {
    kernel: Kernel,
    monitor: Monitor,
    record: Record,
    overlays: Overlays,
    /// They are not wanted for now.
    is_down: bool,
    told: Receiver<Word>,
    woken: UnixStream,
    lines: Arc<Mutex<Vec<OverlayLine>>>,
}

/// What is wanted of the kernel, and how each overlay is.
#[derive(Default)]
struct Wanted {
    objects: Objects,
    /// By interface: the address of this host that its MAC follows from.
    locals: BTreeMap<String, IpAddr>,
    /// Interfaces of overlays of which it cannot be told what they are to be like: they stay.
    kept: BTreeSet<String>,
    lines: Vec<OverlayLine>,
}

impl Following {
    fn follow(&mut self) {
        let mut has_failed = !self.look();
        loop {
            match self.wait(if has_failed { AGAIN } else { AUDIT }) {
                Ok(true) => has_failed = !self.look(),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!("overlays: {error:#}");
                    std::thread::sleep(AGAIN);
                    has_failed = !self.look();
                }
            }
        }
    }

    /// Waits for something that matters. Whether there is anything to be looked at.
    fn wait(&mut self, most: Duration) -> Result<bool> {
        let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        let mut both = [
            PollFd::new(self.monitor.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
        ];
        let count = match poll(&mut both, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno).context("waiting for changes"),
        };
        if count == 0 {
            return Ok(true);
        }
        let [events, words] = both.map(|one| one.any().unwrap_or(false));
        if words {
            let _ = self.woken.read(&mut [0; 64]);
            self.hear();
        }
        let mut matters = words;
        if events {
            std::thread::sleep(TOGETHER);
            let all = self.monitor.read()?;
            matters |= all.iter().any(|event| self.is_concern(event));
        }
        Ok(matters)
    }

    /// Whether an event is of an interface that overlays are made of, or may be.
    fn is_concern(&self, event: &Event) -> bool {
        let concerned = &self.kernel.concerned;
        match event {
            Event::Link { link, .. } => {
                let is_named = |overlay: &Overlay| {
                    overlay.device() == link.name || overlay.bridge.name == link.name
                };
                concerned.contains(&link.index) || self.overlays.overlay.iter().any(is_named)
            }
            Event::Forwarding { link, .. } => concerned.contains(link),
            // An address that an overlay waits for.
            Event::Address { .. } | Event::Lost => true,
            Event::Route { .. } | Event::Neighbour { .. } | Event::Ruleset { .. } => false,
        }
    }

    fn hear(&mut self) {
        while let Ok(word) = self.told.try_recv() {
            let (answer, steps) = match word {
                Word::Want(overlays) => {
                    self.overlays = overlays;
                    continue;
                }
                Word::Plan(answer) => {
                    let planned = self.planned();
                    let steps = planned.map(|(steps, _)| steps.iter().map(line).collect());
                    (answer, steps)
                }
                Word::Apply(answer) => {
                    self.is_down = false;
                    (answer, self.applied())
                }
                Word::Down(answer) => {
                    self.is_down = true;
                    (answer, self.applied())
                }
            };
            let steps = steps.unwrap_or_else(|error| {
                vec![StepLine {
                    step: "look at the kernel".to_owned(),
                    failure: Some(format!("{error:#}")),
                }]
            });
            let _ = answer.send(steps);
        }
    }

    /// Puts everything right. Whether all of it is.
    fn look(&mut self) -> bool {
        match self.applied() {
            Ok(steps) => {
                for step in &steps {
                    match &step.failure {
                        Some(why) => tracing::warn!("overlay: {}: {why}", step.step),
                        None => tracing::info!("overlay: {}", step.step),
                    }
                }
                steps.iter().all(|step| step.failure.is_none())
            }
            Err(error) => {
                tracing::warn!("overlays: {error:#}");
                false
            }
        }
    }

    fn applied(&mut self) -> Result<Vec<StepLine>> {
        let (steps, mut wanted) = self.planned()?;
        let mut lines = Vec::new();
        for step in &steps {
            let local = match step {
                Step::Make(key, _) | Step::Change(key, _) | Step::Remove(key) => {
                    wanted.locals.get(key.link()).copied()
                }
            };
            let mut line = line(step);
            if let Err(error) = self.take(step, local) {
                line.failure = Some(format!("{error:#}"));
                wanted.note(step, &error);
            }
            lines.push(line);
        }
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = wanted.lines;
        Ok(lines)
    }

    /// An interface is noted before it is made, and forgotten when it is gone.
    fn take(&mut self, step: &Step, local: Option<IpAddr>) -> Result<()> {
        if let Step::Make(key, _) = step {
            let name = key.link();
            if key.is_link() {
                self.record.note_made(name)?;
            } else if !self.record.made().contains(name) {
                self.record.note_used(name)?;
            }
        }
        let taken = self.kernel.take(step, local);
        // Somebody else was faster: it is not Weft's.
        let is_present = |error: &anyhow::Error| {
            let kernel = error.downcast_ref::<KernelError>();
            kernel.is_some_and(KernelError::is_present)
        };
        if let (Step::Make(key, _), true) = (step, taken.as_ref().err().is_some_and(is_present))
            && key.is_link()
        {
            self.record.forget(key.link())?;
        }
        taken?;
        if let Step::Remove(key) = step
            && key.is_link()
        {
            self.record.forget(key.link())?;
        }
        Ok(())
    }

    fn planned(&mut self) -> Result<(Vec<Step>, Wanted)> {
        let mut wanted = self.wanted()?;
        let mut names: BTreeSet<String> = self.record.made() | self.record.used();
        names.extend(wanted.objects.keys().map(|key| key.link().to_owned()));
        let seen = self.kernel.seen(&names)?;
        wanted.leave_others(&seen, self.record.made(), &self.kernel.strangers);
        self.forget_gone(&seen, &wanted)?;
        let own = self.record.made();
        let removable = |key: &Key| {
            let is_kept = wanted.kept.contains(key.link());
            !is_kept && (own.contains(key.link()) || !key.is_link())
        };
        let mut steps = plan(&wanted.objects, &seen, removable);
        // A bridge that was there before is used as it is.
        steps.retain(|step| {
            let is_own = |key: &Key| own.contains(key.link());
            !matches!(step, Step::Change(key @ Key::Bridge(_), _) if !is_own(key))
        });
        Ok((steps, wanted))
    }

    /// What was made and has gone by itself is not Weft's any more, nor is an interface of others with nothing of it on it.
    fn forget_gone(&mut self, seen: &Objects, wanted: &Wanted) -> Result<()> {
        let is_on = |objects: &Objects, name: &str, with_link: bool| {
            let mut keys = objects.keys();
            keys.any(|key| key.link() == name && (with_link || !key.is_link()))
        };
        let is_kept = |name: &str| wanted.kept.contains(name) || is_on(&wanted.objects, name, true);
        let record = &self.record;
        let made = record.made().iter().filter(|name| !is_on(seen, name, true));
        let used = record
            .used()
            .iter()
            .filter(|name| !is_on(seen, name, false));
        let gone: Vec<String> = made
            .chain(used)
            .filter(|name| !is_kept(name))
            .cloned()
            .collect();
        gone.iter().try_for_each(|name| self.record.forget(name))
    }

    fn wanted(&mut self) -> Result<Wanted> {
        let mut wanted = Wanted::default();
        if self.is_down || self.overlays.overlay.is_empty() {
            return Ok(wanted);
        }
        let interfaces = self.kernel.interfaces()?;
        for overlay in &self.overlays.overlay {
            let mut line = OverlayLine {
                name: overlay.device(),
                vni: overlay.vni,
                bridge: overlay.bridge.name.clone(),
                addresses: overlay
                    .addresses()
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                port: overlay.port,
                ..OverlayLine::default()
            };
            let peers = self
                .overlays
                .peer
                .iter()
                .filter(|peer| peer.is_in(overlay.vni));
            match underlay::choose(overlay, &interfaces) {
                Ok(chosen) => {
                    let (objects, problems) =
                        desired::objects(overlay, &chosen, &self.overlays.peer);
                    let others = peers.filter(|peer| peer.address != chosen.local);
                    line.peers = others
                        .map(|one| format!("{} {}", one.id, one.address))
                        .collect();
                    line.troubles = problems;
                    let own = [overlay.device(), overlay.bridge.name.clone()];
                    wanted.locals.extend(own.map(|name| (name, chosen.local)));
                    wanted.objects.extend(objects);
                    (line.local, line.mtu, line.underlay) =
                        (Some(chosen.local), chosen.mtu, chosen.interface);
                }
                Err(why) => {
                    line.troubles.push(why);
                    wanted.keep(overlay);
                }
            }
            wanted.lines.push(line);
        }
        Ok(wanted)
    }
}

impl Wanted {
    fn keep(&mut self, overlay: &Overlay) {
        let own = [overlay.device(), overlay.bridge.name.clone()];
        self.objects
            .retain(|key, _| !own.iter().any(|name| name == key.link()));
        self.kept.extend(own);
    }

    /// Interfaces of these names that Weft has not made, and that are something else, are nobody's to change.
    fn leave_others(
        &mut self,
        seen: &Objects,
        own: &BTreeSet<String>,
        strangers: &BTreeSet<String>,
    ) {
        let is_taken = |key: &&Key| {
            let is_made = matches!(key, Key::Vxlan(_)) && seen.contains_key(*key);
            (key.is_link() && strangers.contains(key.link()))
                || (is_made && !own.contains(key.link()))
        };
        let taken: Vec<String> = (self.objects.keys().filter(is_taken))
            .map(|key| key.link().to_owned())
            .collect();
        for name in taken {
            self.objects.retain(|key, _| key.link() != name);
            let mut lines = self.lines.iter_mut();
            let line = lines.find(|line| line.name == name || line.bridge == name);
            if let Some(line) = line {
                line.troubles.push(format!(
                    "{name} is there, and Weft has not made it: remove it, or give the overlay another name"
                ));
            }
        }
    }

    fn note(&mut self, step: &Step, error: &anyhow::Error) {
        let (Step::Make(key, _) | Step::Change(key, _) | Step::Remove(key)) = step;
        let name = key.link();
        let line = self
            .lines
            .iter_mut()
            .find(|line| line.name == name || line.bridge == name);
        if let Some(line) = line {
            line.troubles.push(format!("{step}: {error:#}"));
        }
    }
}

fn line(step: &Step) -> StepLine {
    StepLine {
        step: step.to_string(),
        failure: None,
    }
}
