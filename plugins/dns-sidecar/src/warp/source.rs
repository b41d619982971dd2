//! The event monitor: what Docker or Podman tells of its containers.
//!
//! The stream of events is opened before the containers are listed, so that nothing is missed between both. A container
//! is looked at by a task of its own, as its daemon may make it wait for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use weft_warp::{Breaker, BreakerState, Container, ContainerId, Source};

use super::facts;
use super::http::{Api, NotThere, Place, encoded};

/// What a source says.
#[derive(Debug)]
pub(super) enum Said {
    /// A container is so; when it has become so, in nanoseconds since 1970, if an event says it.
    Container(ContainerId, Box<Container>, Option<u64>),
    /// A container is there, and does not run yet: its name and labels.
    Created(ContainerId, Box<Container>),
    /// A container is there, and runs: as much of it as a list says.
    Listed(ContainerId, Box<Container>),
    /// It does not run any more.
    Stopped(ContainerId),
    /// It is not there any more.
    Gone(ContainerId),
    /// These are all that there are.
    Complete(Source, BTreeSet<String>),
    /// How the source is.
    State(SourceState),
    /// One container could not be looked at.
    Failed(ContainerId, String),
}

/// How a source is.
#[derive(Debug, Clone)]
pub(super) struct SourceState {
    pub(super) source: Source,
    pub(super) place: String,
    /// The API's version, while it answers.
    pub(super) version: Option<String>,
    pub(super) breaker: BreakerState,
    pub(super) error: Option<String>,
}

/// What is asked, and where answers go.
#[derive(Debug, Clone)]
pub(super) struct Monitor {
    pub(super) source: Source,
    pub(super) place: Place,
    pub(super) version: Option<String>,
    pub(super) said: UnboundedSender<Said>,
    /// So many containers are looked at at once.
    pub(super) looks: Arc<Semaphore>,
}

/// So many at most: a daemon's socket does not take any number of connections.
pub(super) const LOOKS: usize = 32;
/// A container that could not be looked at is looked at again after this time, and after longer ones.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How often a container has changed: what was asked before does not count any more.
type Epochs = Arc<Mutex<BTreeMap<String, u64>>>;

const EVENTS: [&str; 9] = [
    "create",
    "start",
    "restart",
    "die",
    "destroy",
    "remove",
    "rename",
    "connect",
    "disconnect",
];

impl Monitor {
    /// Follows it for ever.
    pub(super) async fn follow(self) {
        let mut breaker = Breaker::default();
        let mut error_before = String::new();
        loop {
            let ended = self.once(&mut breaker).await;
            let error = match ended {
                Ok(()) => "the stream of events has ended".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            let random = rand();
            let pause = breaker.failed(random);
            if error != error_before {
                tracing::warn!(
                    "{}: {error}; rules and routes stay as they are, and it is asked again",
                    self.source.as_str()
                );
                error_before.clone_from(&error);
            }
            self.tell_state(None, breaker.state(), Some(error));
            tokio::time::sleep(pause).await;
        }
    }

    fn say(&self, said: Said) {
        // The daemon's loop lives as long as this task.
        let _ = self.said.send(said);
    }

    fn tell_state(&self, version: Option<String>, breaker: BreakerState, error: Option<String>) {
        self.say(Said::State(SourceState {
            source: self.source,
            place: self.place.to_string(),
            version,
            breaker,
            error,
        }));
    }

    async fn once(&self, breaker: &mut Breaker) -> Result<()> {
        let api = Api::open(&self.place, self.version.as_deref()).await?;
        let filters = serde_json::json!({"type": ["container", "network"], "event": EVENTS});
        // Those that come before the stream is open are told once more.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.unwrap_or_default().as_secs();
        let filters = encoded(&filters.to_string());
        let mut events = api.stream(format!("/events?since={since}&filters={filters}"));
        let (line, mut lines) = tokio::sync::mpsc::unbounded_channel();
        // Read beside what follows: what comes meanwhile is not lost.
        let reader = tokio::spawn(async move {
            loop {
                let next = events.next().await;
                let is_end = !matches!(next, Ok(Some(_)));
                if line.send(next).is_err() || is_end {
                    return;
                }
            }
        });
        let _reader = super::Task(reader);
        let epochs = Epochs::default();
        let _ended = Ending(&epochs);
        self.list(&api, &epochs).await?;
        breaker.succeeded();
        tracing::info!(
            "{}: {} speaks version {} of the API",
            self.source.as_str(),
            self.place,
            api.version()
        );
        self.tell_state(Some(api.version().to_owned()), breaker.state(), None);
        while let Some(next) = lines.recv().await {
            match next? {
                Some(event) => self.event(&api, &epochs, &event),
                None => break,
            }
        }
        Ok(())
    }

    async fn list(&self, api: &Api, epochs: &Epochs) -> Result<()> {
        let answer = api.get("/containers/json?all=1").await?;
        let Some(list) = answer.as_array() else {
            bail!("{}: the list of containers is no list", self.place);
        };
        let all: Vec<_> = list.iter().filter_map(facts::listed).collect();
        let ids = all.iter().map(|(id, ..)| id.clone()).collect();
        self.say(Said::Complete(self.source, ids));
        for (id, is_running, container) in all {
            let container = Box::new(container);
            if is_running {
                self.say(Said::Listed(self.id(&id), container));
                self.look(api, epochs, &id, None);
            } else {
                self.say(Said::Created(self.id(&id), container));
            }
        }
        Ok(())
    }

    fn id(&self, id: &str) -> ContainerId {
        ContainerId {
            source: self.source,
            id: id.to_owned(),
        }
    }

    fn event(&self, api: &Api, epochs: &Epochs, event: &Value) {
        let field = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let action = field("/Action").unwrap_or_default();
        let actor = field("/Actor/ID").unwrap_or_default();
        let is_network = field("/Type") == Some("network");
        // Docker tells of a network which container; Podman, of a container which network.
        let id = match is_network {
            true => field("/Actor/Attributes/container").unwrap_or(actor),
            false => actor,
        };
        if id.is_empty() {
            return;
        }
        let at = event.get("timeNano").and_then(Value::as_u64);
        match (is_network, action) {
            (false, "create") => {
                let attributes = event.pointer("/Actor/Attributes");
                let container = facts::created(attributes.unwrap_or(&Value::Null));
                self.say(Said::Created(self.id(id), Box::new(container)));
            }
            (false, "start" | "restart" | "rename") => {
                self.look(api, epochs, id, at);
            }
            // A container that is being started answers when it is, and `start` follows.
            (true, "connect" | "disconnect") => self.look(api, epochs, id, None),
            (false, "die") => {
                next_epoch(epochs, id);
                self.say(Said::Stopped(self.id(id)));
            }
            (false, "destroy" | "remove") => {
                let mut epochs = epochs.lock().unwrap_or_else(PoisonError::into_inner);
                epochs.remove(id);
                drop(epochs);
                self.say(Said::Gone(self.id(id)));
            }
            _ => {}
        }
    }

    /// Looks at a container until it is answered for, and says how it is unless it has changed meanwhile.
    fn look(&self, api: &Api, epochs: &Epochs, id: &str, at: Option<u64>) {
        let (monitor, api, epochs) = (self.clone(), api.clone(), Arc::clone(epochs));
        let epoch = next_epoch(&epochs, id);
        let id = id.to_owned();
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            let is_current = || {
                let epochs = epochs.lock().unwrap_or_else(PoisonError::into_inner);
                epochs.get(&id) == Some(&epoch)
            };
            loop {
                // The task lives no longer than the semaphore.
                let place = monitor.looks.acquire().await;
                let answer = api.get(&format!("/containers/{}/json", encoded(&id))).await;
                drop(place);
                if !is_current() {
                    return;
                }
                let why = match answer.map(|value| facts::inspected(&value)) {
                    Ok(Some(container)) => {
                        let id = monitor.id(&id);
                        return monitor.say(Said::Container(id, Box::new(container), at));
                    }
                    Ok(None) => "nothing is said of it".to_owned(),
                    // It will be told that it is gone.
                    Err(error) if error.is::<NotThere>() => return,
                    Err(error) => format!("{error:#}"),
                };
                monitor.say(Said::Failed(monitor.id(&id), why));
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
        });
    }
}

/// What is asked by a connection that has ended does not count any more.
struct Ending<'a>(&'a Epochs);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut epochs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.clear();
    }
}

fn next_epoch(epochs: &Epochs, id: &str) -> u64 {
    let mut epochs = epochs.lock().unwrap_or_else(PoisonError::into_inner);
    let epoch = epochs.entry(id.to_owned()).or_default();
    *epoch += 1;
    *epoch
}

fn rand() -> u32 {
    let mut bytes = [0; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}
