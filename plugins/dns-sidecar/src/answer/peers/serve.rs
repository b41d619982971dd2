//! What other hosts ask.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use weft_overlay::config::Listen;
use weft_overlay::exchange::Rejection;

use super::call::LONGEST_MESSAGE;
use super::stream::{Caller, Secrecy, Stream};
use super::{Peers, convert};
use crate::wire::nnetman::v1 as wire;
use wire::n_net_man_server::{NNetMan, NNetManServer};

/// Whoever comes is to show a certificate within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections at once: twice the peers there may be.
const MOST_CONNECTIONS: usize = 256;
/// Calls of one connection at once.
const MOST_CALLS: usize = 16;
/// The port may still be somebody's.
const AGAIN: Duration = Duration::from_secs(1);

/// Answers until the task is ended.
pub(super) async fn serve(peers: Arc<Peers>, listen: Listen, secrecy: (Secrecy, u64)) {
    loop {
        let served = answer(&peers, &listen, &secrecy).await;
        let why = served.map_or_else(|error| format!("{error:#}"), |()| "it has ended".to_owned());
        let text = format!("other hosts cannot come to port {}: {why}", listen.port);
        tracing::warn!("overlay: {text}");
        *peers.refused() = Some(text);
        tokio::time::sleep(AGAIN).await;
    }
}

async fn answer(peers: &Arc<Peers>, listen: &Listen, secrecy: &(Secrecy, u64)) -> Result<()> {
    let place = (listen.address, listen.port);
    let listener = TcpListener::bind(place)
        .await
        .with_context(|| format!("{place:?}"))?;
    *peers.refused() = None;
    let (sender, receiver) = mpsc::channel::<Result<Stream, std::io::Error>>(MOST_CALLS);
    let service =
        NNetManServer::new(Service(Arc::clone(peers))).max_decoding_message_size(LONGEST_MESSAGE);
    let server = Server::builder()
        .concurrency_limit_per_connection(MOST_CALLS)
        .max_concurrent_streams(u32::try_from(MOST_CALLS).ok())
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .add_service(service)
        .serve_with_incoming(ReceiverStream::new(receiver));
    tokio::select! {
        served = server => served.context("gRPC"),
        accepted = accept(&listener, secrecy, sender) => accepted,
    }
}

async fn accept(
    listener: &TcpListener,
    (secrecy, epoch): &(Secrecy, u64),
    sender: mpsc::Sender<Result<Stream, std::io::Error>>,
) -> Result<()> {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No more files: some will be closed.
                tracing::warn!("overlay: {error}");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!("overlay: {from} is one connection too many");
            continue;
        };
        let (secrecy, epoch, sender) = (secrecy.clone(), *epoch, sender.clone());
        tokio::spawn(async move {
            match greet(&secrecy, stream).await {
                Ok(stream) => {
                    let _ = sender.send(Ok(stream.holding(place, epoch))).await;
                }
                Err(error) => tracing::info!("overlay: {from}: {error:#}"),
            }
        });
    }
}

async fn greet(secrecy: &Secrecy, stream: TcpStream) -> Result<Stream> {
    timeout(PATIENCE, secrecy.accept(stream))
        .await
        .context("no greeting in time")?
}

struct Service(Arc<Peers>);

impl Service {
    /// Refuses a message of a host that is another one by its certificate or its address.
    fn check(&self, caller: Option<&Caller>, node: &str) -> Result<(), Status> {
        let epoch = self.0.epoch.load(Ordering::Acquire);
        if caller.is_none_or(|caller| caller.epoch != epoch) {
            return Err(Status::unavailable(
                "the configuration has changed: connect again",
            ));
        }
        let name = caller.and_then(|caller| caller.name.as_deref());
        if let Some(name) = name.filter(|name| *name != node) {
            let (says, is) = (node.to_owned(), name.to_owned());
            return Err(self.reject(&Rejection::Impostor { says, is }, caller));
        }
        let address = caller.and_then(|caller| caller.address);
        let is_from = address.map(|address| self.0.exchange().is_from(node, address.ip()));
        match is_from {
            Some(Err(why)) => Err(self.reject(&why, caller)),
            _ => Ok(()),
        }
    }

    fn reject(&self, why: &Rejection, caller: Option<&Caller>) -> Status {
        let from = caller.and_then(|caller| caller.address);
        // Whoever wants to fill the log does not.
        if self.0.figures.reject(why) {
            tracing::warn!(?from, "overlay: {why}");
        }
        Status::permission_denied(why.to_string())
    }

    /// What a change of routes has come to.
    fn acknowledge(
        &self,
        method: &'static str,
        started: Instant,
        done: Result<usize, Rejection>,
    ) -> Response<wire::RouteAck> {
        self.0
            .figures
            .count(method, done.is_ok(), started.elapsed());
        self.0.heard.notify_one();
        Response::new(match done {
            Ok(count) => wire::RouteAck {
                accepted: true,
                routes_processed: u32::try_from(count).unwrap_or(u32::MAX),
                error: String::new(),
            },
            Err(why) => {
                self.0.figures.reject(&why);
                wire::RouteAck {
                    accepted: false,
                    routes_processed: 0,
                    error: why.to_string(),
                }
            }
        })
    }
}

#[tonic::async_trait]
impl NNetMan for Service {
    async fn exchange_state(
        &self,
        request: Request<wire::StateRequest>,
    ) -> Result<Response<wire::StateResponse>, Status> {
        let started = Instant::now();
        self.check(request.extensions().get(), &request.get_ref().node_id)?;
        let caller = request.extensions().get::<Caller>().cloned();
        let wire::StateRequest {
            node_id,
            routes,
            weft,
            ..
        } = request.into_inner();
        let (state, unread) = convert::state_in(node_id, &routes, weft.as_ref());
        self.0.figures.unread(unread);
        let caller_id = state.node.clone();
        let (believed, own, is_connected) = {
            let mut exchange = self.0.exchange();
            let believed = exchange.believe(self.0.now(), state);
            (
                believed,
                exchange.state(),
                exchange.is_connected(&caller_id),
            )
        };
        if believed.is_ok() && !is_connected {
            self.0.knock(&caller_id);
        }
        self.0
            .figures
            .count("ExchangeState", believed.is_ok(), started.elapsed());
        self.0.heard.notify_one();
        let accepted = believed.is_ok();
        if let Err(why) = believed {
            // Whoever is not believed is told nothing.
            return Err(self.reject(&why, caller.as_ref()));
        }
        Ok(Response::new(wire::StateResponse {
            node_id: own.node.clone(),
            routes: own.routes.iter().map(convert::route_out).collect(),
            timestamp_ms: convert::timestamp(),
            accepted,
            weft: convert::beside_out(&own),
        }))
    }

    async fn announce_routes(
        &self,
        request: Request<wire::RouteAnnouncement>,
    ) -> Result<Response<wire::RouteAck>, Status> {
        let started = Instant::now();
        self.check(request.extensions().get(), &request.get_ref().node_id)?;
        let said = request.into_inner();
        let (routes, unread) = convert::routes_in(&said.routes);
        self.0.figures.unread(unread);
        let stamp = convert::stamp_in(said.weft.as_ref());
        let now = self.0.now();
        let done = self
            .0
            .exchange()
            .announced(now, &said.node_id, stamp, &routes);
        Ok(self.acknowledge("AnnounceRoutes", started, done))
    }

    async fn withdraw_routes(
        &self,
        request: Request<wire::RouteWithdrawal>,
    ) -> Result<Response<wire::RouteAck>, Status> {
        let started = Instant::now();
        self.check(request.extensions().get(), &request.get_ref().node_id)?;
        let said = request.into_inner();
        let vnis = said
            .weft
            .as_ref()
            .map(|weft| weft.vnis.as_slice())
            .unwrap_or_default();
        let vnis = vnis.iter().map(|vni| Some(*vni).filter(|vni| *vni > 0));
        let prefixes = said.prefixes.iter().map(|text| convert::prefix_in(text));
        let prefixes: Vec<_> = prefixes
            .zip(vnis.chain(std::iter::repeat(None)))
            .filter_map(|(prefix, vni)| Some((vni, prefix?)))
            .collect();
        self.0.figures.unread(said.prefixes.len() - prefixes.len());
        let stamp = convert::stamp_in(said.weft.as_ref());
        let now = self.0.now();
        let done = self
            .0
            .exchange()
            .withdrawn(now, &said.node_id, stamp, &prefixes);
        Ok(self.acknowledge("WithdrawRoutes", started, done))
    }

    type KeepaliveStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<wire::KeepaliveResponse, Status>> + Send>>;

    async fn keepalive(
        &self,
        request: Request<Streaming<wire::KeepaliveRequest>>,
    ) -> Result<Response<Self::KeepaliveStream>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let mut signs = request.into_inner();
        let (sender, receiver) = mpsc::channel(4);
        let service = Self(Arc::clone(&self.0));
        tokio::spawn(async move {
            while let Ok(Some(sign)) = signs.message().await {
                let answer = service.live(&sign, caller.as_ref());
                let is_end = answer.is_err();
                if sender.send(answer).await.is_err() || is_end {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Service {
    fn live(
        &self,
        sign: &wire::KeepaliveRequest,
        caller: Option<&Caller>,
    ) -> Result<wire::KeepaliveResponse, Status> {
        self.check(caller, &sign.node_id)?;
        let stamp = convert::stamp_in(sign.weft.as_ref());
        let mut exchange = self.0.exchange();
        let lives = exchange.lives(self.0.now(), &sign.node_id, stamp);
        let (node_id, stamp) = (exchange.node().to_owned(), exchange.stamp());
        let route_count = u32::try_from(exchange.exported().len()).unwrap_or(u32::MAX);
        drop(exchange);
        match lives {
            Err(why) => return Err(self.reject(&why, caller)),
            // This host's call to it asks for everything.
            Ok(true) => self.0.knock(&sign.node_id),
            Ok(false) => {}
        }
        self.0.figures.count("Keepalive", true, Duration::ZERO);
        Ok(wire::KeepaliveResponse {
            node_id,
            sequence: sign.sequence,
            timestamp_ms: convert::timestamp(),
            health: Some(wire::PeerHealth {
                healthy: true,
                route_count,
                uptime_seconds: self.0.now().as_secs(),
            }),
            weft: Some(convert::stamp_out(stamp)),
        })
    }
}
