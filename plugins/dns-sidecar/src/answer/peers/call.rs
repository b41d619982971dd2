//! Calls to another host, for as long as it is a peer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use weft_overlay::config::Health;
use weft_overlay::exchange::{Call, State};

use super::convert;
use super::stream::Secrecy;
use super::{Peers, figures};
use crate::wire::nnetman::v1 as wire;
use wire::n_net_man_client::NNetManClient;

/// Connecting and every call take no longer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Before a host is called again; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A message of another host is no longer, in bytes.
pub(super) const LONGEST_MESSAGE: usize = 1 << 20;

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) address: SocketAddr,
    /// This host's address that packets come from.
    pub(super) local: Option<IpAddr>,
    pub(super) health: Health,
}

/// Calls it, again and again.
pub(super) async fn call(
    peers: Arc<Peers>,
    (place, knock): (Place, Arc<Notify>),
    secrecy: Secrecy,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let ended = session(&peers, (&place, &knock), &secrecy).await;
        let why = ended.map_or_else(|error| words(&error), |()| "it has closed".to_owned());
        tracing::debug!(peer = place.id, "overlay: {why}");
        peers.exchange().closed(&place.id, why);
        peers.heard.notify_one();
        if started.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::time::sleep(jittered(FIRST_PAUSE)).await;
        // It may be that it calls meanwhile, and can be called again.
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => {}
            () = knock.notified() => {}
        }
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// What has failed, without the names of types that tonic shows.
fn words(error: &anyhow::Error) -> String {
    let Some(status) = error.downcast_ref::<tonic::Status>() else {
        return format!("{error:#}");
    };
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(status);
    let mut text = status.message().to_owned();
    while let Some(deeper) = cause {
        text = deeper.to_string();
        cause = deeper.source();
    }
    text
}

/// Between three quarters of a time and all of it: hosts that were started together do not stay together.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0; 1];
    let _ = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    let [part] = byte;
    pause.mul_f64(0.75 + f64::from(part) / 1024.0)
}

async fn connect(place: &Place, secrecy: &Secrecy) -> Result<NNetManClient<Channel>> {
    let (place, secrecy) = (place.clone(), secrecy.clone());
    // The address is the connector's; this one stands in each request.
    let uri = format!("http://{}", place.address);
    let endpoint = Endpoint::from_shared(uri)?.connect_timeout(PATIENCE);
    let connector = service_fn(move |_| {
        let (place, secrecy) = (place.clone(), secrecy.clone());
        async move {
            let stream = secrecy.connect(&place.id, place.address, place.local).await;
            stream
                .map(TokioIo::new)
                .map_err(|error| format!("{error:#}"))
        }
    });
    let connecting = timeout(PATIENCE, endpoint.connect_with_connector(connector)).await;
    let channel = connecting
        .context("no connection in time")?
        .map_err(root_cause)?;
    Ok(NNetManClient::new(channel).max_decoding_message_size(LONGEST_MESSAGE))
}

/// "transport error" says nothing: what is behind it does.
fn root_cause(error: tonic::transport::Error) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    anyhow::anyhow!("{cause}")
}

async fn session(
    peers: &Arc<Peers>,
    (place, knock): (&Place, &Notify),
    secrecy: &Secrecy,
) -> Result<()> {
    let id = &place.id;
    let mut client = connect(place, secrecy).await?;
    peers.exchange().opened(id);
    let mut to_tell = peers.to_tell.subscribe();
    tell(peers, id, &mut client).await?;
    let health = place.health;
    let mut tick = tokio::time::interval(health.interval());
    let (sender, receiver) = mpsc::channel(4);
    let mut sequence = 0_u64;
    // Some servers answer the call itself with the first answer alone.
    sender.send(sign_of_life(peers, sequence)).await?;
    tick.tick().await;
    let requests = ReceiverStream::new(receiver);
    let opened = timeout(PATIENCE, client.keepalive(requests)).await;
    let mut answers = opened
        .context("Keepalive: no answer in time")??
        .into_inner();
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            _ = tick.tick() => {
                if heard.elapsed() > health.dead_after() {
                    bail!("no sign of life for {:?}", health.dead_after());
                }
                sequence += 1;
                // One that takes none is given up above.
                let _ = sender.try_send(sign_of_life(peers, sequence));
                tell(peers, id, &mut client).await?;
            }
            answer = answers.message() => {
                let Some(answer) = answer? else { return Ok(()) };
                heard = Instant::now();
                let stamp = convert::stamp_in(answer.weft.as_ref());
                let (now, node) = (peers.now(), &answer.node_id);
                if node != id {
                    bail!("there is node {node:?}, and peer {id:?} was expected");
                }
                let ahead = answer.timestamp_ms.saturating_sub(convert::timestamp());
                peers.exchange().shows(id, ahead);
                let is_behind = peers.exchange().lives(now, node, stamp);
                if is_behind.map_err(|why| anyhow::anyhow!("{why}"))? {
                    tell(peers, id, &mut client).await?;
                }
            }
            () = knock.notified() => tell(peers, id, &mut client).await?,
            changed = to_tell.changed() => {
                changed?;
                tell(peers, id, &mut client).await?;
            }
        }
    }
}

fn sign_of_life(peers: &Peers, sequence: u64) -> wire::KeepaliveRequest {
    let exchange = peers.exchange();
    wire::KeepaliveRequest {
        node_id: exchange.node().to_owned(),
        sequence,
        timestamp_ms: convert::timestamp(),
        weft: Some(convert::stamp_out(exchange.stamp())),
    }
}

/// Tells all that is to be told.
async fn tell(peers: &Arc<Peers>, id: &str, client: &mut NNetManClient<Channel>) -> Result<()> {
    loop {
        let (call, state) = {
            let exchange = peers.exchange();
            match exchange.next_call(peers.now(), id) {
                Some(call) => (call, exchange.state()),
                None => return Ok(()),
            }
        };
        let started = Instant::now();
        let made = timeout(PATIENCE, make(client, &call, &state)).await;
        let method = figures::method(&call);
        let made = made.with_context(|| format!("{method}: no answer in time"))?;
        peers.figures.count(method, made.is_ok(), started.elapsed());
        let answer = made.with_context(|| method)?;
        let taken = peers
            .exchange()
            .called(peers.now(), id, &call, &state, answer);
        taken.map_err(|why| anyhow::anyhow!("{method}: {why}"))?;
        peers.heard.notify_one();
    }
}

async fn make(
    client: &mut NNetManClient<Channel>,
    call: &Call,
    state: &State,
) -> Result<Option<State>> {
    let (node_id, timestamp_ms) = (state.node.clone(), convert::timestamp());
    let stamp = state.stamp.map(convert::stamp_out);
    let out = |routes: &[weft_overlay::exchange::Route]| -> Vec<wire::Route> {
        routes.iter().map(convert::route_out).collect()
    };
    let ack = match call {
        Call::Exchange => {
            let request = wire::StateRequest {
                node_id,
                routes: out(&state.routes),
                timestamp_ms,
                weft: convert::beside_out(state),
            };
            let answer = client.exchange_state(request).await?.into_inner();
            if !answer.accepted {
                bail!(
                    "node {:?} does not take this host for a peer",
                    answer.node_id
                );
            }
            let weft = answer.weft.as_ref();
            let (state, _) = convert::state_in(answer.node_id, &answer.routes, weft);
            return Ok(Some(state));
        }
        Call::Announce(routes) => {
            let request = wire::RouteAnnouncement {
                node_id,
                routes: out(routes),
                timestamp_ms,
                weft: stamp,
            };
            client.announce_routes(request).await?
        }
        Call::Withdraw(routes) => {
            let mut weft = stamp;
            if let Some(weft) = &mut weft {
                weft.vnis = routes.iter().map(|route| route.vni).collect();
            }
            let request = wire::RouteWithdrawal {
                node_id,
                prefixes: routes
                    .iter()
                    .map(|route| route.prefix.to_string())
                    .collect(),
                timestamp_ms,
                weft,
            };
            client.withdraw_routes(request).await?
        }
    };
    let ack = ack.into_inner();
    if !ack.accepted {
        bail!("it was not taken: {}", ack.error);
    }
    Ok(None)
}
