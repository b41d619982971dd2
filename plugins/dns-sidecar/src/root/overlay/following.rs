//! The thread: it waits for changes, and puts everything right.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weft_api::daemon::{OverlayLine, StepLine, overlays_file};
use weft_kernel::KernelError;
use weft_kernel::monitor::{Event, Monitor, Topic};
use weft_overlay::exchange::Own;
use weft_overlay::{Key, Objects, Overlay, Overlays, Step, plan};

use super::Word;
use super::kernel::Kernel;
use super::own::Container;
use super::record::Record;
use super::speech::Speech;
use super::wanted::Wanted;
use crate::channel::peers::Looked;

/// Everything is looked at again after this time, and up to a quarter more: hosts do not do it together.
const AUDIT: Duration = Duration::from_secs(60);
/// The same after a step that has failed.
const AGAIN: Duration = Duration::from_secs(5);
/// RT_TABLE_MAIN.
const MAIN_TABLE: u32 = 254;
/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(10);

/// What the thread has.
pub(super) struct Following {
    kernel: Kernel,
    /// None on a host without overlays: there is nothing to follow.
    monitor: Option<Monitor>,
    record: Record,
    overlays: Overlays,
    /// `weft overlay down` took them away; they are not made again until an apply or a new start.
    is_down: bool,
    told: Receiver<Word>,
    woken: UnixStream,
    lines: Arc<Mutex<Vec<OverlayLine>>>,
    /// Where plugins read which overlays there are.
    file: PathBuf,
    speech: Speech,
    /// What other hosts were told last.
    own: Own,
    /// Containers of this host.
    containers: Vec<Container>,
    looked: Looked,
    /// Why everything is looked at: nothing has told of a reason.
    is_audit: bool,
    is_stopping: bool,
    /// There is nothing to carry an overlay.
    is_waiting: bool,
    /// What could not be done at the last look.
    failures: BTreeSet<String>,
}

impl Following {
    pub(super) fn new(
        (state_dir, data_dir): (&Path, &Path),
        overlays: Overlays,
        (told, woken): (Receiver<Word>, UnixStream),
        (lines, is_lost): (Arc<Mutex<Vec<OverlayLine>>>, Arc<AtomicBool>),
    ) -> Result<Self> {
        Ok(Self {
            kernel: Kernel::open()?,
            monitor: None,
            record: Record::open(data_dir)?,
            overlays,
            is_down: false,
            told,
            woken,
            lines,
            file: overlays_file(state_dir),
            speech: Speech::open(data_dir, is_lost),
            own: Own::default(),
            containers: Vec::new(),
            looked: Looked::default(),
            is_audit: false,
            is_stopping: false,
            is_waiting: false,
            failures: BTreeSet::new(),
        })
    }

    pub(super) fn follow(&mut self) {
        let mut due = self.look_now();
        loop {
            let matters = self.wait(due.saturating_duration_since(Instant::now()));
            match matters {
                Ok(false) if Instant::now() < due => {}
                Ok(true) => due = self.look_now(),
                // Events that do not matter never end on a busy host.
                Ok(false) => {
                    self.is_audit = true;
                    due = self.look_now();
                }
                Err(error) => {
                    tracing::warn!("overlays: {error:#}");
                    std::thread::sleep(AGAIN);
                    due = self.look_now();
                }
            }
        }
    }

    /// Puts everything right; when it is to be looked at again.
    fn look_now(&mut self) -> Instant {
        let is_right = self.look();
        Instant::now() + if is_right { jittered(AUDIT) } else { AGAIN }
    }

    /// Waits for something that matters. Whether there is anything to be looked at.
    fn wait(&mut self, most: Duration) -> Result<bool> {
        let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut all = vec![watch(self.woken.as_fd())];
        let speech = self.speech.as_fd();
        all.extend(speech.map(watch));
        all.extend(self.monitor.as_ref().map(|monitor| watch(monitor.as_fd())));
        let count = match poll(&mut all, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno).context("waiting for changes"),
        };
        self.is_audit = count == 0;
        if count == 0 {
            return Ok(true);
        }
        let ready: Vec<bool> = all.iter().map(|one| one.any().unwrap_or(false)).collect();
        let is_ready = |place: usize| ready.get(place).copied().unwrap_or(false);
        let after_speech = 1 + usize::from(speech.is_some());
        let (words, heard) = (is_ready(0), speech.is_some() && is_ready(1));
        let events = is_ready(after_speech);
        let mut matters = words;
        if words {
            let _ = self.woken.read(&mut [0; 64]);
            self.hear();
        }
        if heard {
            matters |= self.speech.hear();
        }
        if events {
            std::thread::sleep(TOGETHER);
            let all = self.monitor.as_mut().map(Monitor::read).transpose()?;
            matters |= all.iter().flatten().any(|event| self.is_concern(event));
        }
        Ok(matters)
    }

    /// Whether an event is of something that overlays are made of, or may be.
    fn is_concern(&self, event: &Event) -> bool {
        let concerned = &self.kernel.concerned;
        match event {
            Event::Link { link, .. } => {
                let is_named = |overlay: &Overlay| {
                    overlay.device() == link.name || overlay.bridge.name == link.name
                };
                let is_port = link.controller.is_some_and(|one| concerned.contains(&one));
                is_port
                    || concerned.contains(&link.index)
                    || self.overlays.overlay.iter().any(is_named)
            }
            Event::Forwarding {
                link, is_static, ..
            } => *is_static && concerned.contains(link),
            Event::Neighbour { link, .. } => self.kernel.devices.contains(link),
            Event::Route { route, .. } => {
                let is_table = |overlay: &Overlay| Some(overlay.table()) == route.table;
                // The way out may be what carries an overlay.
                let is_way_out = route.dst.prefix() == 0 && route.table == Some(MAIN_TABLE);
                let mut overlays = self.overlays.overlay.iter();
                overlays.any(|one| is_way_out || is_table(one))
            }
            // An address that an overlay waits for; what has Weft's number.
            Event::Address { .. } | Event::Rule { .. } | Event::Nexthop { .. } | Event::Lost => {
                !self.overlays.overlay.is_empty()
            }
            Event::Ruleset { .. } => false,
        }
    }

    fn hear(&mut self) {
        while let Ok(word) = self.told.try_recv() {
            let (answer, steps) = match word {
                Word::Want(overlays) => {
                    self.overlays = *overlays;
                    continue;
                }
                Word::Containers(containers) => {
                    self.containers = containers;
                    continue;
                }
                Word::Speak(socket) => {
                    if let Err(error) = self.speech.speak_by(socket) {
                        tracing::warn!("overlays: {error:#}");
                    }
                    continue;
                }
                Word::Plan(overlays, answer) => {
                    // As after an apply, which takes back a down.
                    let before = (
                        std::mem::replace(&mut self.overlays, *overlays),
                        self.is_down,
                    );
                    self.is_down = false;
                    let planned = self.planned();
                    (self.overlays, self.is_down) = before;
                    let steps = planned.map(|(steps, ..)| steps.iter().map(line).collect());
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
                Word::Stop(answer) => {
                    self.is_stopping = true;
                    let removes = self.overlays.node.remove_overlays_at_stop;
                    self.is_down |= removes;
                    let steps = match removes {
                        true => self.applied(),
                        false => Ok(Vec::new()),
                    };
                    (answer, steps)
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
        if self.is_stopping {
            return true;
        }
        let started = Instant::now();
        let applied = self.applied();
        let is_right = match &applied {
            Ok(steps) => {
                let mut failures = BTreeSet::new();
                for step in steps {
                    match &step.failure {
                        Some(why) => {
                            let text = format!("{}: {why}", step.step);
                            // It is tried again and again, and said once.
                            if !self.failures.contains(&text) {
                                tracing::warn!("overlay: {text}");
                            }
                            failures.insert(text);
                        }
                        None => tracing::info!("overlay: {}", step.step),
                    }
                }
                self.failures = failures;
                self.failures.is_empty() && !self.is_waiting
            }
            Err(error) => {
                tracing::warn!("overlays: {error:#}");
                false
            }
        };
        let count = applied.map_or(0, |steps| u64::try_from(steps.len()).unwrap_or_default());
        let looked = &mut self.looked;
        looked.looks += 1;
        looked.failures += u64::from(!is_right);
        looked.steps += count;
        looked.drift += if self.is_audit { count } else { 0 };
        looked.seconds += started.elapsed().as_secs_f64();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        looked.last = since.unwrap_or_default().as_secs_f64();
        self.speech.looked(self.looked);
        is_right
    }

    /// What changes is followed from before the first look on.
    fn follow_changes(&mut self) -> Result<()> {
        const TOPICS: [Topic; 6] = [
            Topic::Links,
            Topic::Addresses,
            Topic::Neighbours,
            Topic::Routes,
            Topic::Rules,
            Topic::Nexthops,
        ];
        if self.overlays.overlay.is_empty() {
            self.monitor = None;
        } else if self.monitor.is_none() {
            let monitor = Monitor::of_routing(&TOPICS);
            self.monitor = Some(monitor.context("changes of interfaces cannot be followed")?);
        }
        Ok(())
    }

    fn applied(&mut self) -> Result<Vec<StepLine>> {
        self.follow_changes()?;
        let (steps, mut wanted, seen) = self.planned()?;
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
        self.is_waiting = wanted.lines.iter().any(|line| line.local.is_none());
        self.count(&seen, &wanted.objects);
        self.own = std::mem::take(&mut wanted.own);
        self.speech.configure(&self.overlays, &self.own);
        self.add_troubles(&mut wanted.lines);
        self.say_what_there_is(wanted.lines)?;
        Ok(lines)
    }

    /// What is wrong between hosts, at the overlay that it is about.
    fn add_troubles(&self, lines: &mut [OverlayLine]) {
        let mut texts = self.speech.heard.troubles.clone();
        texts.extend(self.speech.trouble.clone());
        if self.overlays.speaks() && !self.speech.is_reached() {
            texts.push(
                "the part of weftd that speaks with other hosts is not there; it is started again"
                    .to_owned(),
            );
        }
        for text in texts {
            let is_of = |line: &OverlayLine| {
                let mark = format!("VNI {}", line.vni);
                let after = text.split_once(&mark).map(|(_, after)| after);
                after.is_some_and(|after| !after.starts_with(|char: char| char.is_ascii_digit()))
            };
            let place = lines.iter().position(is_of).unwrap_or_default();
            if let Some(line) = lines.get_mut(place) {
                line.troubles.push(text);
            }
        }
    }

    /// To the command line, and to plugins, by a file: they work while the daemon does not.
    fn say_what_there_is(&self, lines: Vec<OverlayLine>) -> Result<()> {
        let bytes = serde_json::to_vec(&lines)?;
        let is_new =
            weft_cni::file::read_own(&self.file).map_or(!lines.is_empty(), |there| there != bytes);
        if is_new {
            let by_way_of = self.file.with_extension("new");
            weft_cni::file::replace_own(&self.file, &by_way_of, &bytes, false)
                .with_context(|| format!("{} cannot be written", self.file.display()))?;
        }
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = lines;
        Ok(())
    }

    fn count(&mut self, seen: &Objects, wanted: &Objects) {
        let all = if seen.is_empty() { wanted } else { seen };
        let count = |is_meant: fn(&Key) -> bool| all.keys().filter(|key| is_meant(key)).count();
        let looked = &mut self.looked;
        looked.bridges = count(|key| matches!(key, Key::Bridge(_)));
        looked.devices = count(|key| matches!(key, Key::Vxlan(_)));
        looked.forwards = count(|key| matches!(key, Key::Flood(..) | Key::Forward(..)));
        looked.routes = count(|key| matches!(key, Key::Route(..)));
    }

    /// An interface is noted before it is made, and forgotten when it is gone.
    fn take(&mut self, step: &Step, local: Option<IpAddr>) -> Result<()> {
        if let Step::Make(key, _) = step {
            let name = key.link();
            if key.is_link() {
                self.record.note_made(name)?;
            } else if !name.is_empty() && !self.record.made().contains(name) {
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

    fn planned(&mut self) -> Result<(Vec<Step>, Wanted, Objects)> {
        let mut wanted = match self.is_down {
            true => Wanted::default(),
            false => {
                let learned = &self.speech.heard.learned;
                let told = (&self.own, self.containers.as_slice());
                Wanted::of(&self.overlays, learned, told, &mut self.kernel)?
            }
        };
        let mut names: BTreeSet<String> = self.record.made() | self.record.used();
        names.extend(wanted.objects.keys().map(|key| key.link().to_owned()));
        names.remove("");
        let seen = self.kernel.seen(&names)?;
        wanted.leave_others(&seen, self.record.made(), &self.kernel.strangers);
        self.forget_gone(&seen, &wanted)?;
        let own = self.record.made();
        let removable = |key: &Key| {
            let is_kept = wanted.kept.contains(key.link())
                || key
                    .table()
                    .is_some_and(|table| wanted.kept_tables.contains(&table));
            !is_kept && (own.contains(key.link()) || !key.is_link())
        };
        let mut steps = plan(&wanted.objects, &seen, removable);
        // A bridge that was there before is used as it is.
        steps.retain(|step| {
            let is_own = |key: &Key| own.contains(key.link());
            !matches!(step, Step::Change(key @ Key::Bridge(_), _) if !is_own(key))
        });
        Ok((steps, wanted, seen))
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
}

fn line(step: &Step) -> StepLine {
    StepLine {
        step: step.to_string(),
        failure: None,
    }
}

/// A time, and up to a quarter more.
fn jittered(time: Duration) -> Duration {
    let mut byte = [0; 1];
    let _ = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    let [part] = byte;
    time.mul_f64(1.0 + f64::from(part) / 1024.0)
}
