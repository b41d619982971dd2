//! Other hosts: who is spoken with, what is heard of them, and what the root part is told of it.

mod call;
mod convert;
mod figures;
mod observed;
mod probe;
mod serve;
mod stream;

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use weft_api::daemon::{PeerLine, PeerRouteLine};
use weft_overlay::config::ControlPlane;
use weft_overlay::exchange::{Exchange, PeerReport};

use crate::channel::peers::{Configuration, Heard, Keys, Looked, Tell};
use figures::Figures;
use stream::Secrecy;

/// Times are looked at so often.
const TICK: Duration = Duration::from_millis(250);
/// Everything is looked at once in so many of these.
const TICKS: u32 = 40;

/// Everything about other hosts.
pub(super) struct Peers {
    exchange: Mutex<Exchange>,
    start: Instant,
    /// Something is to be told to other hosts.
    to_tell: watch::Sender<()>,
    /// Something was heard of them.
    heard: Notify,
    tasks: Mutex<Tasks>,
    looked: Mutex<Looked>,
    figures: Figures,
    /// Why the port is not open.
    refused: Mutex<Option<String>>,
    /// Connections of an earlier number are not listened to any more.
    epoch: AtomicU64,
}

/// Tasks that end when they are dropped.
#[derive(Default)]
struct Tasks {
    configuration: Configuration,
    serving: Option<Task>,
    /// How connections are made, of what was usable last.
    secrecy: Option<(Option<Keys>, ControlPlane, Secrecy)>,
    calls: HashMap<String, (call::Place, Arc<Notify>, Task)>,
    observed: Vec<Task>,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(tokio::spawn(work))
}

impl Peers {
    /// Nobody yet.
    pub(super) fn new() -> Result<Arc<Self>> {
        let mut number = [0; 8];
        rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())
            .context("random numbers")?;
        Ok(Arc::new(Self {
            exchange: Mutex::new(Exchange::new(String::new(), u64::from_ne_bytes(number))),
            start: Instant::now(),
            to_tell: watch::Sender::default(),
            heard: Notify::new(),
            tasks: Mutex::default(),
            looked: Mutex::default(),
            figures: Figures::default(),
            refused: Mutex::default(),
            epoch: AtomicU64::new(0),
        }))
    }

    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looked(&self) -> Looked {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Option<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Takes what the root part says of overlays, and tells it of other hosts, until the socket ends.
    pub(super) fn follow(self: &Arc<Self>, socket: OwnedFd) -> Result<()> {
        let stream = StdUnixStream::from(socket);
        stream.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(stream)?.into_split();
        let peers = Arc::clone(self);
        tokio::spawn(async move {
            let _probes = spawn(probe::probe(Arc::clone(&peers)));
            let ended = tokio::select! {
                ended = peers.hear(reader) => ended,
                ended = peers.report(writer) => ended,
            };
            if let Err(error) = ended {
                tracing::debug!("overlays: the root part: {error:#}");
            }
        });
        Ok(())
    }

    async fn hear(self: &Arc<Self>, mut reader: OwnedReadHalf) -> Result<()> {
        const LONGEST: u32 = 64 << 20;
        loop {
            let length = reader.read_u32().await?;
            if length > LONGEST {
                bail!("a message without end");
            }
            let mut text = vec![0; usize::try_from(length).unwrap_or_default()];
            reader.read_exact(&mut text).await?;
            match serde_json::from_slice(&text)? {
                Tell::Configure(configuration) => self.configure(*configuration),
                Tell::Looked(looked) => {
                    *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = looked;
                }
            }
        }
    }

    /// Tells what has changed.
    async fn report(self: &Arc<Self>, mut writer: OwnedWriteHalf) -> Result<()> {
        let mut told: Option<Heard> = None;
        let mut tick = tokio::time::interval(TICK);
        let mut ticks = 0_u32;
        loop {
            if !self.exchange().overlays().speaks() {
                // Nothing that changes with time.
                self.heard.notified().await;
                ticks = 0;
                told = None;
            }
            let is_due = tokio::select! {
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    ticks.is_multiple_of(TICKS)
                }
                () = self.heard.notified() => true,
            };
            // Putting all of it together costs more than looking at times.
            let is_over = self.exchange().expire(self.now());
            if !is_due && !is_over && told.is_some() {
                continue;
            }
            // What nobody has configured yet is not known, which is not that there is nothing.
            let Some(heard) = self.heard_now() else {
                continue;
            };
            if told.as_ref() == Some(&heard) {
                continue;
            }
            let text = serde_json::to_vec(&heard)?;
            let length = u32::try_from(text.len()).context("a message without end")?;
            writer.write_all(&length.to_be_bytes()).await?;
            writer.write_all(&text).await?;
            told = Some(heard);
        }
    }

    fn heard_now(&self) -> Option<Heard> {
        let now = self.now();
        let mut exchange = self.exchange();
        if exchange.node().is_empty() {
            return None;
        }
        let learned = exchange.learned(now);
        let mut troubles = exchange.troubles(now);
        drop(exchange);
        troubles.extend(self.refused().clone());
        Some(Heard { learned, troubles })
    }

    /// The peers and this host are as configured from now on.
    fn configure(self: &Arc<Self>, configuration: Configuration) {
        let mut tasks = self.tasks();
        let before = std::mem::replace(&mut tasks.configuration, configuration.clone());
        {
            let mut exchange = self.exchange();
            let Configuration {
                node,
                overlays,
                own,
                remembered,
                ..
            } = configuration.clone();
            let is_first = exchange.node().is_empty();
            exchange.configure(node, overlays, own);
            if is_first {
                exchange.remember(self.now(), remembered);
            }
        }
        self.serve(&mut tasks, &configuration);
        if before.overlays.observability != configuration.overlays.observability
            || tasks.observed.is_empty()
        {
            tasks.observed = observed::start(self, &configuration.overlays);
        }
        drop(tasks);
        self.to_tell.send_replace(());
        self.heard.notify_one();
    }

    /// Hosts are called, and answered, as configured; as before if what is configured cannot be used.
    fn serve(self: &Arc<Self>, tasks: &mut Tasks, configuration: &Configuration) {
        let plane = configuration.overlays.security.control_plane.clone();
        let Some(plane) = plane.filter(|_| configuration.overlays.speaks()) else {
            self.epoch.fetch_add(1, Ordering::AcqRel);
            tasks.calls.clear();
            (tasks.serving, tasks.secrecy) = (None, None);
            *self.refused() = None;
            return;
        };
        let keys = configuration.keys.clone();
        let is_same = tasks
            .secrecy
            .as_ref()
            .is_some_and(|(of, at, _)| (of, at) == (&keys, &plane));
        if !is_same {
            let made = match &configuration.keys_missing {
                Some(why) => Err(anyhow::anyhow!("{why}")),
                None => Secrecy::of(keys.as_ref()),
            };
            match made {
                Ok(secrecy) => {
                    let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
                    tasks.calls.clear();
                    tasks.serving = None;
                    let work = serve::serve(
                        Arc::clone(self),
                        plane.listen.clone(),
                        (secrecy.clone(), epoch),
                    );
                    tasks.serving = Some(spawn(work));
                    tasks.secrecy = Some((keys, plane, secrecy));
                    *self.refused() = None;
                }
                // Files are replaced one after the other. In clear nothing goes on that is to be secret.
                Err(error) => {
                    *self.refused() = Some(format!("{error:#}"));
                    let was_clear = tasks
                        .secrecy
                        .as_ref()
                        .is_some_and(|(keys, ..)| keys.is_none());
                    if was_clear && plane.tls.is_some() {
                        self.epoch.fetch_add(1, Ordering::AcqRel);
                        tasks.calls.clear();
                        (tasks.serving, tasks.secrecy) = (None, None);
                    }
                }
            }
        }
        if let Some((_, plane, secrecy)) = &tasks.secrecy {
            let (port, secrecy) = (plane.listen.port, secrecy.clone());
            self.call_all(&mut tasks.calls, port, &secrecy, configuration);
        }
    }

    fn call_all(
        self: &Arc<Self>,
        calls: &mut HashMap<String, (call::Place, Arc<Notify>, Task)>,
        port: u16,
        secrecy: &Secrecy,
        configuration: &Configuration,
    ) {
        let locals = &configuration.own.locals;
        let exchange = self.exchange();
        let wanted = exchange.peers().map(|(id, address)| {
            let is_alike = |ip: &&IpAddr| ip.is_ipv4() == address.is_ipv4();
            let place = call::Place {
                id: id.clone(),
                address: (address, port).into(),
                local: locals.iter().find(is_alike).copied(),
                health: exchange.health(id),
            };
            (id.clone(), place)
        });
        let wanted: HashMap<String, call::Place> = wanted.collect();
        drop(exchange);
        calls.retain(|id, (place, ..)| wanted.get(id) == Some(place));
        for (id, place) in wanted {
            calls.entry(id).or_insert_with(|| {
                let knock = Arc::new(Notify::new());
                let both = (place.clone(), Arc::clone(&knock));
                let work = call::call(Arc::clone(self), both, secrecy.clone());
                (place, knock, spawn(work))
            });
        }
    }

    /// A host has something to be asked for, or can be called again.
    fn knock(&self, peer: &str) {
        if let Some((_, knock, _)) = self.tasks().calls.get(peer) {
            knock.notify_one();
        }
    }

    /// The peers, as the command line shows them.
    pub(super) fn peer_lines(&self) -> Vec<PeerLine> {
        let reports = self.exchange().peer_reports(self.now());
        reports.into_iter().map(peer_line).collect()
    }

    /// Their routes, as the command line shows them.
    pub(super) fn route_lines(&self) -> Vec<PeerRouteLine> {
        let exchange = self.exchange();
        let own = exchange.exported().iter().map(|route| PeerRouteLine {
            vni: route.vni,
            prefix: route.prefix.to_string(),
            next_hop: route.next_hop,
            metric: route.metric,
            peer: exchange.node().to_owned(),
            state: "exported".to_owned(),
            table: None,
        });
        let mut lines: Vec<PeerRouteLine> = own.collect();
        lines.extend(exchange.route_reports(self.now()).into_iter().map(|one| {
            let overlay = exchange.overlays().of(one.route.vni);
            let state = match (one.is_chosen, one.is_stale) {
                (false, _) => "standby",
                (true, true) => "stale",
                (true, false) => "installed",
            };
            PeerRouteLine {
                vni: one.route.vni,
                prefix: one.route.prefix.to_string(),
                next_hop: one.route.next_hop,
                metric: one.route.metric,
                peer: one.peer,
                table: overlay.map(weft_overlay::Overlay::table),
                state: state.to_owned(),
            }
        }));
        lines
    }
}

fn peer_line(report: PeerReport) -> PeerLine {
    let times = report.probes.values().filter_map(|probe| probe.time);
    let silent = report
        .probes
        .iter()
        .filter(|(_, probe)| probe.is_sure && probe.time.is_none());
    let narrow = report
        .probes
        .iter()
        .filter(|(_, probe)| probe.is_sure && probe.time.is_some() && !probe.is_full);
    PeerLine {
        id: report.id,
        address: report.address,
        state: report.state.word().to_owned(),
        seconds: report.since.as_secs(),
        kind: match report.is_weft {
            Some(true) => "weft".to_owned(),
            Some(false) => "n-netman".to_owned(),
            None => String::new(),
        },
        routes: report.routes,
        refused: report.refused.values().sum(),
        last_refusal: report.last_refusal,
        microseconds: times
            .max()
            .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        unreachable: silent.map(|(vni, _)| *vni).collect(),
        narrow: narrow.map(|(vni, _)| *vni).collect(),
        trouble: report.error,
    }
}
