//! Asking other servers. There is always an answer: theirs, or that there is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use weft_dns::message::{adopt, cut, is_answer_to, outcome, records};
use weft_dns::query::{Query, read};
use weft_dns::reply::{Extended, Reply};
use weft_dns::{Code, Name, Source, Transport};

use super::clients::Client;
use super::question::{Incoming, Job, Part, fail};
use super::world::World;

/// Clients of glibc and musl wait five seconds.
const BUDGET: Duration = Duration::from_secs(4);
/// Each server is asked so often, for datagrams get lost.
const ROUNDS: usize = 2;
const DNS: u16 = 53;

/// What came of a question.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// For the client.
    pub(super) answer: Vec<u8>,
    pub(super) code: Code,
    /// Who has given it.
    pub(super) server: Option<IpAddr>,
}

/// A place among the open questions, given back with the value.
struct Place<'w>(&'w World, &'w Client);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.known().in_flight.end(self.1);
    }
}

/// Asks, remembers the answer, and counts.
pub(super) async fn ask(world: &Arc<World>, job: &Job) -> Forwarded {
    let _place = Place(world, &job.client);
    let start = Instant::now();
    // Only questions that can be read come here; what cannot is not answered.
    let Ok(query) = read(&job.query) else {
        return Forwarded {
            answer: Vec::new(),
            code: Code::FormatError,
            server: None,
        };
    };
    let found = timeout(BUDGET, found(world, job, &query)).await;
    let found = found.ok().flatten();
    let time = start.elapsed();
    let mut known = world.known();
    if let Part::Leads(leader) = &job.part {
        if let (Some(key), Some((answer, _))) = (&job.key, &found) {
            known.cache.put(key.clone(), answer, world.now());
        }
        // From now on others ask by themselves, or find it remembered.
        let same = job.key.clone().map(|key| (key, job.transport));
        same.and_then(|same| known.asking.remove(&same));
        leader.send_replace(found.clone());
    }
    let (mut answer, server) = match found {
        Some((answer, server)) => (answer, Some(server)),
        None => {
            let mut out = Vec::new();
            let why = Extended::NoReachableAuthority;
            fail(&query, job.transport, why, &mut out);
            (out, None)
        }
    };
    adopt(&query, &mut answer);
    if answer.len() > Reply::limit_of(&query, job.transport) {
        cut(&query, &mut answer);
    }
    let code = Code::of_number(outcome(&answer).0);
    known.totals.forwarded.add(time);
    let (at, client) = &job.from;
    let incoming = Incoming {
        at,
        client: *client,
        transport: job.transport,
        message: &job.query,
    };
    known.has_answered(&job.network, &incoming, (Source::Forward, code), time);
    drop(known);
    Forwarded {
        answer,
        code,
        server,
    }
}

/// What others say, or what somebody hears that asks the same.
async fn found(world: &Arc<World>, job: &Job, query: &Query<'_>) -> Option<(Vec<u8>, IpAddr)> {
    match &job.part {
        Part::Alone | Part::Leads(_) => first_answer(world, job, query).await,
        Part::Follows(found) => {
            let mut found = found.clone();
            let answer = found.wait_for(Option::is_some).await.ok()?;
            answer.clone()
        }
    }
}

/// The first good answer. A server that takes longer than usual gets company; one that fails makes way. If all fail, the
/// answer is what one of them said.
async fn first_answer(
    world: &Arc<World>,
    job: &Job,
    query: &Query<'_>,
) -> Option<(Vec<u8>, IpAddr)> {
    let order = world.known().upstreams.in_order(&job.servers);
    let mut servers = order.iter().cycle().take(order.len() * ROUNDS);
    let mut asked = JoinSet::new();
    let mut open: Vec<(IpAddr, Instant)> = Vec::new();
    let mut failure = None;
    loop {
        let next = servers.next().copied();
        let wait = next.map_or(BUDGET, |server| world.known().upstreams.wait_for(server));
        if let Some(server) = next {
            world.known().upstreams.asks(server);
            open.push((server, Instant::now()));
            asked.spawn(ask_one(
                job.query.clone(),
                query.question.to_vec(),
                server,
                job.transport,
            ));
        }
        let came = tokio::select! {
            came = asked.join_next() => came,
            () = sleep(wait) => { late(world, &mut open); continue }
        };
        let Some(Ok((server, time, outcome))) = came else {
            return failure;
        };
        match outcome {
            Some(answer) if is_good(&answer) => {
                world.known().upstreams.answered(server, time);
                return Some((answer, server));
            }
            Some(answer) => failure = Some((answer, server)),
            None => world.known().upstreams.failed(server),
        }
        open.retain(|(one, _)| *one != server);
    }
}

/// Servers that have let the usual time go by.
fn late(world: &World, open: &mut Vec<(IpAddr, Instant)>) {
    let mut known = world.known();
    open.retain(|(server, since)| {
        let is_late = since.elapsed() >= known.upstreams.wait_for(*server);
        if is_late {
            known.upstreams.failed(*server);
        }
        !is_late
    });
}

/// Whether no other server would know better. One that is not whole is not believed.
fn is_good(answer: &[u8]) -> bool {
    const NO_ERROR: u8 = 0;
    const NO_NAME: u8 = 3;
    matches!(outcome(answer).0, NO_ERROR | NO_NAME) && records(answer).is_some()
}

/// One server's answer to this question, under a number that nobody else knows, and how long it took.
async fn ask_one(
    mut query: Vec<u8>,
    question: Vec<u8>,
    server: IpAddr,
    transport: Transport,
) -> (IpAddr, Duration, Option<Vec<u8>>) {
    let start = Instant::now();
    let mut id = [0; 2];
    let is_random = getrandom(&mut id, GetRandomFlags::empty()).is_ok();
    if let (true, Some(place)) = (is_random, query.get_mut(..2)) {
        place.copy_from_slice(&id);
    }
    let id = u16::from_be_bytes(id);
    let address = SocketAddr::new(server, DNS);
    let is_answer = |message: &[u8]| is_answer_to(&question, id, message);
    let answer = match transport {
        Transport::Udp => by_datagram(&query, address, is_answer).await,
        Transport::Tcp => by_stream(&query, address, is_answer).await,
    };
    (server, start.elapsed(), answer.ok())
}

/// A socket of its own, with a port that the kernel chooses, for each question.
async fn by_datagram(
    query: &[u8],
    server: SocketAddr,
    is_answer: impl Fn(&[u8]) -> bool,
) -> std::io::Result<Vec<u8>> {
    /// Nobody sends more by a datagram.
    const LONGEST: usize = 8192;
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = Vec::with_capacity(LONGEST);
    loop {
        answer.clear();
        socket.recv_buf(&mut answer).await?;
        // What is no answer to this question is a liar's: the true one may still come.
        if is_answer(&answer) {
            return Ok(answer);
        }
    }
}

async fn by_stream(
    query: &[u8],
    server: SocketAddr,
    is_answer: impl Fn(&[u8]) -> bool,
) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).unwrap_or_default();
    stream
        .write_all(&[&length.to_be_bytes()[..], query].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    match is_answer(&answer) {
        true => Ok(answer),
        false => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// Asks a server for a name below `base` that only this daemon knows: the question must not come back.
pub(super) async fn probe(world: Arc<World>, server: IpAddr, base: &Name) {
    let mut random = [0; 8];
    if getrandom(&mut random, GetRandomFlags::empty()).is_err() {
        return;
    }
    let label = format!("weft-{:016x}", u64::from_be_bytes(random));
    let Ok(name) = Name::parse(&label).and_then(|label| label.below(base)) else {
        return;
    };
    let mut query = b"\0\0\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    query.extend(name.wire());
    query.extend(b"\0\0\x10\0\x01");
    let question = query.get(12..).unwrap_or_default().to_vec();
    world.known().upstreams.probe(name.wire().to_vec(), server);
    // What it says does not matter.
    let _ = timeout(BUDGET, ask_one(query, question, server, Transport::Udp)).await;
    world.known().upstreams.end_probe(name.wire());
}
