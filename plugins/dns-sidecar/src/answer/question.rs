//! From a message to an answer, or to a question for others.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use weft_api::daemon::Seen;
use weft_dns::cache::Key;
use weft_dns::message::outcome;
use weft_dns::query::{Query, read};
use weft_dns::reply::{Extended, Reply, refuse};
use weft_dns::{Code, Outcome, Source, Transport, Views, answer, kind};

use super::clients::{At, Client, TooMany};
use super::known::{Known, scope_of};

/// Which of several addresses comes first is another one each time.
static TURN: AtomicU32 = AtomicU32::new(0);

/// A message, and where it came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming<'m> {
    pub(super) at: &'m At,
    pub(super) client: IpAddr,
    pub(super) transport: Transport,
    pub(super) message: &'m [u8],
}

/// What becomes of it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The answer is in the buffer.
    Send,
    /// Nothing is sent.
    Nothing,
    /// Others are asked.
    Forward(Box<Job>),
}

/// A question to others.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) query: Vec<u8>,
    pub(super) transport: Transport,
    pub(super) from: (At, IpAddr),
    pub(super) client: Client,
    pub(super) network: Arc<str>,
    pub(super) servers: Vec<IpAddr>,
    /// None: the answer is not remembered.
    pub(super) key: Option<Key>,
    pub(super) part: Part,
}

/// What has come of a question that several have asked: the answer, and whose it is.
pub(super) type Found = watch::Receiver<Option<(Vec<u8>, IpAddr)>>;

/// Its part in asking others.
#[derive(Debug)]
pub(super) enum Part {
    /// It alone.
    Alone,
    /// It asks for those that come meanwhile, too.
    Leads(watch::Sender<Option<(Vec<u8>, IpAddr)>>),
    /// The same is being asked already.
    Follows(Found),
}

impl Known {
    /// Answers a message, or says who is to be asked.
    pub(super) fn handle(
        &mut self,
        incoming: &Incoming<'_>,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Verdict {
        if self.is_loop(incoming.message) {
            return Verdict::Nothing;
        }
        let Some(asker) = self.asker(incoming.at, incoming.client) else {
            self.totals.strangers += 1;
            return stranger(incoming.message, out);
        };
        let (network, client) = (Arc::clone(&asker.network), asker.client);
        let views = Views {
            own: asker.view,
            others: &asker.others,
        };
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        match answer(incoming.message, views, incoming.transport, turn, out) {
            Outcome::Silent => {
                self.totals.malformed += 1;
                Verdict::Nothing
            }
            Outcome::Answered { kind, code, source } => {
                self.count_request(&network, incoming.transport, kind);
                self.has_answered(&network, incoming, (source, code), Duration::ZERO);
                Verdict::Send
            }
            Outcome::Forward(query) => {
                self.count_request(&network, incoming.transport, query.kind);
                self.elsewhere(&query, incoming, (network, client), now, out)
            }
        }
    }

    /// From memory, or by asking others, unless there are too many questions.
    fn elsewhere(
        &mut self,
        query: &Query<'_>,
        incoming: &Incoming<'_>,
        (network, client): (Arc<str>, Client),
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let servers = self.servers_for(&network, &query.name);
        let key = Key::of(query, scope_of(&servers));
        let limit = Reply::limit_of(query, incoming.transport);
        if let Some(key) = &key
            && self.cache.get(key, query, limit, now, out)
        {
            let code = Code::of_number(outcome(out).0);
            self.has_answered(&network, incoming, (Source::Cache, code), Duration::ZERO);
            return Verdict::Send;
        }
        let (most, of_client) = (
            self.settings.max_in_flight,
            self.settings.max_in_flight_per_client,
        );
        if let Err(too_many) = self.in_flight.begin(&client, most, of_client) {
            match too_many {
                TooMany::OfClient => self.totals.over_client_limit += 1,
                TooMany::OfAll => self.totals.over_limit += 1,
            }
            fail(query, incoming.transport, Extended::NotReady, out);
            let outcome = (Source::Refused, Code::ServerFailure);
            self.has_answered(&network, incoming, outcome, Duration::ZERO);
            return Verdict::Send;
        }
        Verdict::Forward(Box::new(Job {
            query: incoming.message.to_vec(),
            transport: incoming.transport,
            from: (incoming.at.clone(), incoming.client),
            client,
            network,
            servers,
            part: self.part(key.as_ref(), incoming.transport),
            key,
        }))
    }

    /// Whether the same is being asked already. One question of a kind at a time: many would be many chances for whoever
    /// forges answers.
    pub(super) fn part(&mut self, key: Option<&Key>, transport: Transport) -> Part {
        let Some(key) = key else {
            return Part::Alone;
        };
        let same = (key.clone(), transport);
        // One that has ended without an answer is as none.
        let there = self.asking.get(&same);
        if let Some(found) = there.filter(|found| found.has_changed().is_ok()) {
            return Part::Follows(found.clone());
        }
        let (leader, found) = watch::channel(None);
        self.asking.insert(same, found);
        Part::Leads(leader)
    }

    fn count_request(&mut self, network: &str, transport: Transport, kind: u16) {
        if let Some(served) = self.networks.get_mut(network) {
            served.counters.request(transport, kind);
        }
    }

    /// Counts an answer, and shows it to those that watch.
    pub(super) fn has_answered(
        &mut self,
        network: &str,
        incoming: &Incoming<'_>,
        (source, code): (Source, Code),
        time: Duration,
    ) {
        if let Some(served) = self.networks.get_mut(network) {
            served.counters.response(source, code);
        }
        if self.watchers.receiver_count() > 0
            && let Ok(query) = read(incoming.message)
        {
            // One that does not keep up misses some.
            let _ = self.watchers.send(Seen {
                client: incoming.client,
                network: network.to_owned(),
                name: query.name.to_string(),
                kind: kind::name(query.kind).into_owned(),
                code: code.name().to_owned(),
                source: source.name().to_owned(),
                microseconds: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            });
        }
    }

    /// A question of this daemon's own that has come back: that server is not asked any more.
    fn is_loop(&mut self, message: &[u8]) -> bool {
        if !self.upstreams.has_probes() {
            return false;
        }
        let server = read(message)
            .ok()
            .and_then(|query| self.upstreams.is_own_probe(query.name.wire()));
        if let Some(server) = server {
            tracing::error!(
                "the name server {server} asks back here what it is asked: it is left alone; take it out of \
                 /etc/resolv.conf, or name others as upstreams below [dns] in weft.toml"
            );
        }
        server.is_some()
    }
}

/// Somebody that is in no network is told so, in no more bytes than were sent.
fn stranger(message: &[u8], out: &mut Vec<u8>) -> Verdict {
    match read(message) {
        Ok(query) => {
            refuse(query.id, 0, Code::Refused, out);
            Verdict::Send
        }
        Err(_) => Verdict::Nothing,
    }
}

/// There is no answer, and why.
pub(super) fn fail(query: &Query<'_>, transport: Transport, why: Extended, out: &mut Vec<u8>) {
    let mut reply = Reply::new(query, transport, out);
    reply.code(Code::ServerFailure).extended(why).finish(false);
}
