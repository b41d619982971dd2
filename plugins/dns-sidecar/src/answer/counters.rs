//! What is counted: of each network, and of all together.

use weft_dns::{Code, Source, Transport, kind};

/// Types that are counted by name; all others together.
const KINDS: [(u16, &str); 7] = [
    (kind::A, "A"),
    (kind::AAAA, "AAAA"),
    (kind::PTR, "PTR"),
    (kind::SRV, "SRV"),
    (kind::TXT, "TXT"),
    (65, "HTTPS"),
    (0, "other"),
];
const CODES: [Code; 7] = [
    Code::NoError,
    Code::FormatError,
    Code::ServerFailure,
    Code::NoName,
    Code::NotImplemented,
    Code::Refused,
    Code::BadVersion,
];
const SOURCES: [Source; 4] = [
    Source::Local,
    Source::Cache,
    Source::Forward,
    Source::Refused,
];
/// Upper ends of a histogram's buckets, in seconds.
pub(super) const BUCKETS: [f64; 9] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counters {
    requests: [[u64; KINDS.len()]; 2],
    responses: [[u64; CODES.len()]; SOURCES.len()],
}

/// Where one is among all that are told apart; else the last place.
fn place<T: PartialEq>(all: &[T], one: &T) -> usize {
    let last = all.len().saturating_sub(1);
    all.iter().position(|there| there == one).unwrap_or(last)
}

impl Counters {
    /// A question came.
    pub(super) fn request(&mut self, transport: Transport, asked: u16) {
        let kind = KINDS
            .iter()
            .position(|(kind, _)| *kind == asked)
            .unwrap_or(KINDS.len() - 1);
        let row = self
            .requests
            .get_mut(usize::from(transport == Transport::Tcp));
        if let Some(count) = row.and_then(|row| row.get_mut(kind)) {
            *count += 1;
        }
    }

    /// An answer went.
    pub(super) fn response(&mut self, source: Source, code: Code) {
        let row = self.responses.get_mut(place(&SOURCES, &source));
        if let Some(count) = row.and_then(|row| row.get_mut(place(&CODES, &code))) {
            *count += 1;
        }
    }

    /// Protocol, type, count; those that are not zero.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let rows = ["udp", "tcp"].into_iter().zip(&self.requests);
        let row = |(protocol, row): (&'static str, &[u64; KINDS.len()])| {
            let counts = KINDS.iter().zip(*row);
            let counts: Vec<_> = counts
                .map(|((_, kind), count)| (protocol, *kind, count))
                .collect();
            counts
        };
        rows.flat_map(row).filter(|(_, _, count)| *count > 0)
    }

    /// Source, code, count; those that are not zero.
    pub(super) fn responses(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let rows = SOURCES.iter().zip(&self.responses);
        let row = |(source, row): (&Source, &[u64; CODES.len()])| {
            let counts = CODES.iter().zip(*row);
            let counts: Vec<_> = counts
                .map(|(code, count)| (source.name(), code.name(), count))
                .collect();
            counts
        };
        rows.flat_map(row).filter(|(_, _, count)| *count > 0)
    }
}

/// How long things took.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    /// By bucket; longer ones are in the count alone.
    pub(super) buckets: [u64; BUCKETS.len()],
    pub(super) count: u64,
    pub(super) seconds: f64,
}

impl Times {
    pub(super) fn add(&mut self, time: std::time::Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BUCKETS.iter().position(|end| seconds <= *end);
        if let Some(count) = bucket.and_then(|bucket| self.buckets.get_mut(bucket)) {
            *count += 1;
        }
        self.count += 1;
        self.seconds += seconds;
    }
}

/// Of all networks together.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    /// Questions of clients that are in none of the networks.
    pub(super) strangers: u64,
    /// Messages that are no questions.
    pub(super) malformed: u64,
    /// Questions to others that were one too many: of a client, and of all.
    pub(super) over_client_limit: u64,
    pub(super) over_limit: u64,
    /// Connections that were one too many.
    pub(super) connections: u64,
    pub(super) forwarded: Times,
    /// Changes that the root part has told of.
    pub(super) updates: u64,
}
