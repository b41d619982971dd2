//! What is known, shared by all that answer, and the tasks that do.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};

use super::clients::At;
use super::forward;
use super::known::Known;
use super::peers::Peers;
use super::question::{Incoming, Verdict};
use super::serve::Place;
use super::upstream::LOOP_REST;
use super::{control, serve, status};
use crate::channel::Message;

/// All that is known.
#[derive(Debug)]
pub(super) struct World {
    known: Mutex<Known>,
    /// Where questions come in.
    places: Mutex<HashMap<At, Place>>,
    /// Tasks that are to end: their sockets are open until they have.
    ending: Mutex<Vec<JoinHandle<()>>>,
    /// No more questions are taken.
    draining: watch::Sender<bool>,
    /// Servers that are being looked at.
    probed: Mutex<HashSet<IpAddr>>,
    /// Other hosts, when the root part has said something of overlays.
    peers: OnceLock<Arc<Peers>>,
    start: Instant,
}

impl Default for World {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            places: Mutex::default(),
            ending: Mutex::default(),
            draining: watch::Sender::default(),
            probed: Mutex::default(),
            peers: OnceLock::new(),
            start: Instant::now(),
        }
    }
}

impl World {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        // A task that has panicked has changed nothing by halves.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<At, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the beginning.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Other hosts; none if there are no overlays.
    pub(super) fn peers(&self) -> Option<&Arc<Peers>> {
        self.peers.get()
    }

    /// Answers a message, or says who is to be asked.
    pub(super) fn handle(&self, incoming: &Incoming<'_>, out: &mut Vec<u8>) -> Verdict {
        self.known().handle(incoming, self.now(), out)
    }

    /// Takes in what the root part says.
    pub(super) fn learn(
        self: &Arc<Self>,
        message: Message,
        mut sockets: Vec<OwnedFd>,
    ) -> Result<()> {
        self.known().totals.updates += 1;
        match message {
            Message::Settings(settings) => {
                self.known().put_settings(settings)?;
                self.probe_servers();
            }
            Message::Network(network) => {
                let has_servers = !network.upstreams.is_empty() || !network.zones.is_empty();
                self.known().put_network(network)?;
                if has_servers {
                    self.probe_servers();
                }
            }
            Message::NetworkGone { name } => self.known().remove_network(&name),
            Message::Endpoint(endpoint) => self.known().put_endpoint(endpoint),
            Message::EndpointGone { id } => self.known().remove_endpoint(&id),
            Message::Reaches { reaches } => self.known().reaches = reaches.into_iter().collect(),
            Message::Listen { address } => self.listen(At::Host(address), sockets)?,
            Message::Unlisten { address } => self.close(&At::Host(address)),
            Message::UnlistenInside { endpoint } => self.close(&At::Inside(endpoint)),
            Message::ListenInside { endpoint } => self.listen(At::Inside(endpoint), sockets)?,
            Message::Upstreams { servers } => self.learn_servers(servers),
            Message::Troubles { texts } => self.known().troubles = texts,
            Message::Peers => {
                let socket = sockets.pop().context("a socket is missing")?;
                let new = Peers::new()?;
                self.peers.get_or_init(|| new).follow(socket)?;
            }
            Message::Control => {
                tokio::spawn(control::serve(Arc::clone(self), listener(&mut sockets)?));
            }
            Message::Status => {
                tokio::spawn(status::serve(Arc::clone(self), listener(&mut sockets)?));
            }
            // The caller's.
            Message::Sync { .. } | Message::Drain => {}
        }
        Ok(())
    }

    fn listen(self: &Arc<Self>, at: At, sockets: Vec<OwnedFd>) -> Result<()> {
        self.close(&at);
        let place = serve::start(self, &at, sockets).with_context(|| format!("{at:?}"))?;
        self.places().insert(at, place);
        Ok(())
    }

    fn close(&self, at: &At) {
        if let Some(place) = self.places().remove(at) {
            self.ending().extend(place.close());
        }
    }

    fn ending(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the sockets of all places that were closed are closed: they keep containers' namespaces alive.
    pub(super) async fn has_closed(&self) {
        let ending = std::mem::take(&mut *self.ending());
        if ending.is_empty() {
            return;
        }
        for task in ending {
            // It was told to end.
            let _ = task.await;
        }
        // Streams were told by their task's end.
        yield_now().await;
    }

    fn learn_servers(self: &Arc<Self>, servers: Vec<IpAddr>) {
        let is_new = {
            let mut known = self.known();
            let is_new = known.host_servers != servers;
            known.host_servers = servers;
            is_new
        };
        if is_new {
            self.probe_servers();
        }
    }

    /// Sees whether one of the servers asks back here, now and, as long as one does, again.
    fn probe_servers(self: &Arc<Self>) {
        let servers = self.known().probes();
        for (server, base) in servers {
            if !self.probed().insert(server) {
                continue;
            }
            let world = Arc::clone(self);
            tokio::spawn(async move {
                loop {
                    forward::probe(Arc::clone(&world), server, &base).await;
                    if !world.known().upstreams.is_looping(server) {
                        break;
                    }
                    tokio::time::sleep(LOOP_REST).await;
                }
                world.probed().remove(&server);
            });
        }
    }

    /// Changes when no more questions are to be taken.
    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    fn probed(&self) -> MutexGuard<'_, HashSet<IpAddr>> {
        self.probed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more questions; returns when those that there are have been answered.
    pub(super) async fn drain(&self) {
        const STEP: Duration = Duration::from_millis(2);
        self.draining.send_replace(true);
        // Their sockets are there until the end.
        let places = std::mem::take(&mut *self.places());
        places.values().for_each(Place::drain);
        while self.known().in_flight.count() > 0 {
            tokio::time::sleep(STEP).await;
        }
        // What was written last is on its way when the task that wrote it has run.
        tokio::time::sleep(STEP).await;
    }
}

fn listener(sockets: &mut Vec<OwnedFd>) -> Result<tokio::net::UnixListener> {
    let socket = UnixListener::from(sockets.pop().context("a socket is missing")?);
    Ok(tokio::net::UnixListener::from_std(socket)?)
}
