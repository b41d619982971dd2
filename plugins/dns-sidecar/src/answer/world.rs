//! What is known, shared by all that answer, and the tasks that do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

use super::clients::At;
use super::forward;
use super::known::Known;
use super::question::{Incoming, Verdict};
use super::upstream::LOOP_REST;
use super::{control, serve, status};
use crate::channel::Message;

/// All that is known.
#[derive(Debug)]
pub(super) struct World {
    known: Mutex<Known>,
    /// Tasks that answer at a place.
    tasks: Mutex<HashMap<At, Tasks>>,
    start: Instant,
}

/// They end with the value.
#[derive(Debug)]
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            tasks: Mutex::default(),
            start: Instant::now(),
        }
    }
}

impl World {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        // A task that has panicked has changed nothing by halves.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<At, Tasks>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the beginning.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
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
            Message::Endpoint(endpoint) => {
                self.close_inside(&endpoint.id);
                self.known().put_endpoint(endpoint);
            }
            Message::EndpointGone { id } => {
                self.close_inside(&id);
                self.known().remove_endpoint(&id);
            }
            Message::Reaches { reaches } => self.known().reaches = reaches.into_iter().collect(),
            Message::Listen { address } => self.listen(At::Host(address), sockets)?,
            Message::Unlisten { address } => drop(self.tasks().remove(&At::Host(address))),
            Message::ListenInside { endpoint } => self.listen(At::Inside(endpoint), sockets)?,
            Message::Upstreams { servers } => self.learn_servers(servers),
            Message::Troubles { texts } => self.known().troubles = texts,
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
        let tasks = serve::start(self, &at, sockets).with_context(|| format!("{at:?}"))?;
        self.tasks().insert(at, Tasks(tasks));
        Ok(())
    }

    /// Sockets keep the container's namespace alive.
    fn close_inside(&self, endpoint: &str) {
        self.tasks().remove(&At::Inside(endpoint.to_owned()));
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
        let servers = self.known().all_servers();
        for server in servers {
            let world = Arc::clone(self);
            tokio::spawn(async move {
                loop {
                    forward::probe(Arc::clone(&world), server).await;
                    if !world.known().upstreams.is_looping(server) {
                        break;
                    }
                    tokio::time::sleep(LOOP_REST).await;
                }
            });
        }
    }

    /// Takes no more questions; returns when those that there are have been answered.
    pub(super) async fn drain(&self) {
        const STEP: Duration = Duration::from_millis(2);
        self.tasks().clear();
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
