//! Questions come in, answers go out: by datagrams and by streams.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet, yield_now};
use tokio::time::timeout;
use weft_dns::Transport;

use super::clients::{At, Client};
use super::forward;
use super::question::{Incoming, Verdict};
use super::world::World;

/// A query is no longer than this, in bytes.
const LONGEST_QUERY: usize = 4096;
/// A stream on which nothing comes ends after this time.
const IDLE: Duration = Duration::from_secs(3);
/// Streams that may be open.
const MOST_STREAMS: usize = 1024;
const MOST_STREAMS_OF_CLIENT: usize = 64;

/// Tasks that answer at a place, with the socket that answers leave by which come later.
#[derive(Debug)]
pub(super) struct Place {
    datagrams: JoinHandle<()>,
    streams: JoinHandle<()>,
    _socket: Arc<tokio::net::UdpSocket>,
}

impl Place {
    /// Ends both. The sockets are closed when the tasks have ended.
    pub(super) fn close(self) -> [JoinHandle<()>; 2] {
        let tasks = [self.datagrams, self.streams];
        tasks.iter().for_each(JoinHandle::abort);
        tasks
    }

    /// Takes in nothing more; what was asked is answered as long as the value is there.
    pub(super) fn drain(&self) {
        self.datagrams.abort();
    }
}

/// Answers at the sockets: one for datagrams and one that listens.
pub(super) fn start(world: &Arc<World>, at: &At, sockets: Vec<OwnedFd>) -> Result<Place> {
    let [datagrams, streams] = match <[OwnedFd; 2]>::try_from(sockets) {
        Ok(both) => both,
        Err(others) => bail!("{} sockets in place of two", others.len()),
    };
    let datagrams = tokio::net::UdpSocket::from_std(UdpSocket::from(datagrams))?;
    let streams = tokio::net::TcpListener::from_std(TcpListener::from(streams))?;
    let datagrams = Arc::new(datagrams);
    let by_datagrams = serve_datagrams(Arc::clone(world), at.clone(), Arc::clone(&datagrams));
    let by_streams = serve_streams(Arc::clone(world), at.clone(), streams);
    Ok(Place {
        datagrams: tokio::spawn(by_datagrams),
        streams: tokio::spawn(by_streams),
        _socket: datagrams,
    })
}

async fn serve_datagrams(world: Arc<World>, at: At, socket: Arc<tokio::net::UdpSocket>) {
    /// So many are answered before others get their turn.
    const TOGETHER: u64 = 32;
    let mut query = vec![0; LONGEST_QUERY];
    let mut out = Vec::with_capacity(1500);
    loop {
        if socket.readable().await.is_err() {
            // An error of an answer before (ICMP): the socket goes on.
            yield_now().await;
        }
        for number in 1_u64.. {
            // Not with a question in hand: the task may end here.
            if number % TOGETHER == 0 {
                yield_now().await;
            }
            let Ok((length, client)) = socket.try_recv_from(&mut query) else {
                break;
            };
            let incoming = Incoming {
                at: &at,
                client: client.ip(),
                transport: Transport::Udp,
                message: query.get(..length).unwrap_or_default(),
            };
            match world.handle(&incoming, &mut out) {
                Verdict::Nothing => {}
                // A client that is not there any more needs no answer; one for whom there is no room asks again.
                Verdict::Send => drop(socket.try_send_to(&out, client)),
                Verdict::Forward(job) => {
                    // The socket may be closed meanwhile: it keeps a container's namespace alive.
                    let (world, socket) = (Arc::clone(&world), Arc::downgrade(&socket));
                    tokio::spawn(async move {
                        let forwarded = forward::ask(&world, &job).await;
                        if let Some(socket) = socket.upgrade() {
                            let _ = socket.try_send_to(&forwarded.answer, client);
                        }
                    });
                }
            }
        }
    }
}

async fn serve_streams(world: Arc<World>, at: At, listener: tokio::net::TcpListener) {
    /// After an error there is none to be accepted at once.
    const PAUSE: Duration = Duration::from_millis(50);
    // They end with this task.
    let mut streams = JoinSet::new();
    let mut draining = world.draining();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.changed() => break,
        };
        match accepted {
            Ok((stream, client)) => {
                if let Some(place) = StreamPlace::begin(&world, &at, client.ip()) {
                    let at = at.clone();
                    streams.spawn(async move { serve_stream(&place.world, &at, stream).await });
                }
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        while streams.try_join_next().is_some() {}
    }
    // Those that are there get their answers.
    while streams.join_next().await.is_some() {}
}

/// A place among the open streams, given back with the value.
struct StreamPlace {
    world: Arc<World>,
    client: Client,
}

impl StreamPlace {
    /// None for strangers, and if there are too many.
    fn begin(world: &Arc<World>, at: &At, address: IpAddr) -> Option<Self> {
        let mut known = world.known();
        let Some(client) = known.asker(at, address).map(|asker| asker.client) else {
            known.totals.strangers += 1;
            return None;
        };
        let begun = known
            .connections
            .begin(&client, MOST_STREAMS, MOST_STREAMS_OF_CLIENT);
        if begun.is_err() {
            known.totals.connections += 1;
            return None;
        }
        drop(known);
        let world = Arc::clone(world);
        Some(Self { world, client })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.world.known().connections.end(&self.client);
    }
}

async fn serve_stream(world: &Arc<World>, at: &At, mut stream: TcpStream) {
    let Ok(client) = stream.peer_addr() else {
        return;
    };
    let mut out = Vec::new();
    while let Ok(Ok(length)) = timeout(IDLE, stream.read_u16()).await {
        if usize::from(length) > LONGEST_QUERY {
            return;
        }
        let mut query = vec![0; usize::from(length)];
        match timeout(IDLE, stream.read_exact(&mut query)).await {
            Ok(Ok(_)) => {}
            _ => return,
        }
        let incoming = Incoming {
            at,
            client: client.ip(),
            transport: Transport::Tcp,
            message: &query,
        };
        match world.handle(&incoming, &mut out) {
            Verdict::Nothing => return,
            Verdict::Send => {}
            Verdict::Forward(job) => out = forward::ask(world, &job).await.answer,
        }
        let Ok(length) = u16::try_from(out.len()) else {
            return;
        };
        let whole = [&length.to_be_bytes()[..], &out].concat();
        match timeout(IDLE, stream.write_all(&whole)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}
