//! What Weft's store says of containers that weft-warp was called for.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc::UnboundedSender;
use weft_attach::steps::warp::{by_container, container_of, id_of_container};
use weft_node::{Host, HostConfig};
use weft_store::{AttachmentRecord, Position, StoreError};
use weft_warp::{BreakerState, ContainerId, Source};

use super::source::{Said, SourceState};

/// Changes that come together are read together.
const TOGETHER: Duration = Duration::from_millis(2);
/// The store is read without a change, too.
const AUDIT: Duration = Duration::from_secs(60);
/// The same after it could not be read.
const AGAIN: Duration = Duration::from_secs(1);

struct Following {
    host: Host,
    position: Position,
    known: BTreeSet<ContainerId>,
    said: UnboundedSender<Said>,
}

/// Follows the store, in a thread of its own: it waits for locks.
///
/// # Errors
/// That the directory cannot be watched.
pub(super) fn follow(config: &HostConfig, said: UnboundedSender<Said>) -> Result<()> {
    let inotify = watch(&config.state_dir)?;
    let mut following = Following {
        host: Host::open(config),
        position: Position::default(),
        known: BTreeSet::new(),
        said,
    };
    let thread = std::thread::Builder::new().name("store".to_owned());
    thread
        .spawn(move || {
            while let Ok(pause) = following.look_and_tell() {
                wait(&inotify, pause);
            }
        })
        .context("a thread cannot be started")?;
    Ok(())
}

fn watch(directory: &Path) -> Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
        .context("inotify cannot be used")?;
    let changes = AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE;
    inotify
        .add_watch(directory, changes)
        .context("the store's directory cannot be watched")?;
    Ok(inotify)
}

/// Waits for a change of the store, or for so long.
fn wait(inotify: &Inotify, most: Duration) {
    let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
    loop {
        let mut one = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut one, timeout).is_ok_and(|count| count > 0) {
            return;
        }
        std::thread::sleep(TOGETHER);
        let mut is_store = false;
        while let Ok(events) = inotify.read_events() {
            is_store |= events.iter().any(|event| {
                let name = event.name.as_ref().map(|name| name.as_encoded_bytes());
                name.is_none_or(|name| name.starts_with(b"store"))
            });
        }
        if is_store {
            return;
        }
    }
}

impl Following {
    /// Reads what has changed. An error is that nobody listens any more.
    fn look_and_tell(&mut self) -> Result<Duration, ()> {
        let looked = self.look();
        let error = looked.as_ref().err().map(ToString::to_string);
        let pause = match &error {
            None => AUDIT,
            Some(_) => AGAIN,
        };
        let state = SourceState {
            source: Source::Cni,
            place: self.host.store.path().display().to_string(),
            version: None,
            breaker: BreakerState::Closed,
            error,
        };
        for one in looked
            .unwrap_or_default()
            .into_iter()
            .chain([Said::State(state)])
        {
            self.said.send(one).map_err(drop)?;
        }
        Ok(pause)
    }

    fn look(&mut self) -> Result<Vec<Said>, StoreError> {
        let news = self.host.store.records_since(self.position)?;
        let Some(changed) = news.attachments else {
            return self.read_everything();
        };
        let containers: BTreeSet<_> = (changed.into_keys())
            .map(|id| (id_of_container(&id), id.container_id))
            .collect();
        let mut all = Vec::new();
        for (id, container) in containers {
            let records =
                (self.host.store).read(|transaction| transaction.attachments_of_id(&container))?;
            all.extend(self.put(id, &records));
        }
        self.position = news.position;
        Ok(all)
    }

    fn read_everything(&mut self) -> Result<Vec<Said>, StoreError> {
        let (position, records) = self.host.store.read(|transaction| {
            Ok::<_, StoreError>((transaction.position()?, transaction.attachments()?))
        })?;
        self.position = position;
        let mut gone = std::mem::take(&mut self.known);
        let mut all = Vec::new();
        for (id, records) in by_container(records) {
            gone.remove(&id);
            all.extend(self.put(id, &records));
        }
        all.extend(gone.into_iter().map(Said::Gone));
        Ok(all)
    }

    fn put(&mut self, id: ContainerId, records: &[AttachmentRecord]) -> Option<Said> {
        match container_of(records) {
            Some(container) => {
                self.known.insert(id.clone());
                Some(Said::Container(id, Box::new(container), None))
            }
            None => self.known.remove(&id).then_some(Said::Gone(id)),
        }
    }
}
