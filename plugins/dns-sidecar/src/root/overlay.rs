//! Overlays of this host: what weft.toml wants of them is made, and put back when somebody takes it away.
//!
//! A thread of its own follows the kernel. Devices outlive the daemon; what it has made and is not wanted any more goes.

mod following;
mod kernel;
mod lines;
pub(super) mod own;
mod record;
mod speech;
mod wanted;

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use weft_api::daemon::{OverlayLine, StepLine};
use weft_cni::env::Env;
use weft_node::HostConfig;
use weft_overlay::Overlays;

use following::Following;
use own::Container;

/// Whoever asks for something waits for it for so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads the tables of weft.toml, or n-netman's file in their place.
///
/// # Errors
/// The file, with line and key for what cannot be understood; all that is wrong otherwise.
pub(crate) fn read(env: &Env) -> Result<Overlays> {
    if let Some(path) = env.get("WEFT_OVERLAY_CONFIG") {
        return of_nnetman(Path::new(path));
    }
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
    let problems: Vec<String> = (problems.iter())
        .map(|problem| lines::located(&text, problem))
        .collect();
    if !problems.is_empty() {
        bail!("{}: {}", path.display(), problems.join("; "));
    }
    Ok(overlays)
}

fn of_nnetman(path: &Path) -> Result<Overlays> {
    let text = weft_cni::file::read_text(path).with_context(|| path.display().to_string())?;
    match weft_overlay::nnetman::translate(&text) {
        Ok(translated) => {
            for remark in &translated.remarks {
                tracing::warn!("{}: {remark}", path.display());
            }
            Ok(translated.overlays)
        }
        Err(problems) => bail!("{}: {}", path.display(), problems.join("; ")),
    }
}

/// Bridges whose containers other hosts are told of.
pub(crate) fn shared_bridges(overlays: &Overlays) -> BTreeSet<String> {
    let all = overlays.overlay.iter().filter(|_| overlays.speaks());
    all.filter(|one| !one.mode.is_routed())
        .map(|one| one.bridge.name.clone())
        .collect()
}

/// What the thread is told, with where it says what it has done.
enum Word {
    Want(Box<Overlays>),
    /// By this socket the part that answers is told, and tells what other hosts say.
    Speak(UnixStream),
    Containers(Vec<Container>),
    Plan(Box<Overlays>, Sender<Vec<StepLine>>),
    Apply(Sender<Vec<StepLine>>),
    Down(Sender<Vec<StepLine>>),
    Stop(Sender<Vec<StepLine>>),
}

/// The thread, as the root part's loop sees it.
pub(super) struct Duty {
    words: Sender<Word>,
    wake: UnixStream,
    lines: Arc<Mutex<Vec<OverlayLine>>>,
    is_lost: Arc<AtomicBool>,
}

impl Duty {
    /// Starts it.
    pub(super) fn start(config: &HostConfig, overlays: Overlays) -> Result<Self> {
        let (wake, woken) = UnixStream::pair().context("a socket pair cannot be made")?;
        woken.set_nonblocking(true)?;
        let (words, told) = channel();
        let (lines, is_lost) = (Arc::default(), Arc::<AtomicBool>::default());
        let places = (config.state_dir.as_path(), config.data_dir.as_path());
        let shared = (Arc::clone(&lines), Arc::clone(&is_lost));
        let mut following = Following::new(places, overlays, (told, woken), shared)?;
        let thread = std::thread::Builder::new().name("overlay".to_owned());
        thread
            .spawn(move || following.follow())
            .context("a thread cannot be started")?;
        Ok(Self {
            words,
            wake,
            lines,
            is_lost,
        })
    }

    fn say(&self, word: Word) {
        // The thread ends with the process alone.
        let _ = self.words.send(word);
        let _ = (&self.wake).write(&[0]);
    }

    pub(super) fn want(&self, overlays: Overlays) {
        self.say(Word::Want(Box::new(overlays)));
    }

    /// Containers of this host, on bridges.
    pub(super) fn know(&self, containers: Vec<Container>) {
        self.say(Word::Containers(containers));
    }

    /// There is a part that answers, and this is the way to it.
    pub(super) fn speak_by(&self, socket: UnixStream) {
        self.say(Word::Speak(socket));
    }

    /// The daemon stops: what is wanted is removed, if the file says so.
    pub(super) fn stops(&self) {
        self.ask(Word::Stop);
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
                step: "all of it".to_owned(),
                failure: Some(format!(
                    "not done within {PATIENCE:?}, and goes on: weft overlay ls says more later"
                )),
            }]
        })
    }

    /// What would be changed if these were wanted.
    pub(super) fn plan(&self, overlays: Overlays) -> Vec<StepLine> {
        self.ask(|answer| Word::Plan(Box::new(overlays), answer))
    }

    /// Whether the way to the part that answers is lost: once for each loss.
    pub(super) fn takes_another_way(&self) -> bool {
        self.is_lost.swap(false, Ordering::AcqRel)
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
