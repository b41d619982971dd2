//! What is counted of other hosts' calls.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weft_overlay::exchange::{Call, Rejection};

/// Upper ends of the buckets, in seconds.
pub(super) const BUCKETS: [f64; 6] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5];

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) buckets: [u64; BUCKETS.len()],
    pub(super) count: u64,
    pub(super) seconds: f64,
}

/// Counters.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// By method, and whether it went well.
    pub(super) calls: BTreeMap<(&'static str, bool), u64>,
    pub(super) times: BTreeMap<&'static str, Times>,
    pub(super) rejected: BTreeMap<&'static str, u64>,
    pub(super) unread: u64,
    /// When a message that was not believed was last said.
    said: Option<Instant>,
}

/// The same, shared.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<Counts>);

impl Figures {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> Counts {
        self.counts().clone()
    }

    pub(super) fn count(&self, method: &'static str, is_ok: bool, time: Duration) {
        let mut counts = self.counts();
        *counts.calls.entry((method, is_ok)).or_default() += 1;
        let times = counts.times.entry(method).or_default();
        times.count += 1;
        times.seconds += time.as_secs_f64();
        let mut buckets = BUCKETS.iter().zip(&mut times.buckets);
        if let Some((_, bucket)) = buckets.find(|(end, _)| time.as_secs_f64() <= **end) {
            *bucket += 1;
        }
    }

    /// Whether it is to be said: not more than one in ten seconds is.
    pub(super) fn reject(&self, why: &Rejection) -> bool {
        const QUIET: Duration = Duration::from_secs(10);
        let word = match why {
            Rejection::Stranger(_) => "stranger",
            Rejection::Impostor { .. } => "certificate",
            Rejection::SameId(_) => "same_id",
            Rejection::OutOfOrder => "out_of_order",
        };
        let mut counts = self.counts();
        *counts.rejected.entry(word).or_default() += 1;
        let is_due = counts.said.is_none_or(|at| at.elapsed() >= QUIET);
        if is_due {
            counts.said = Some(Instant::now());
        }
        is_due
    }

    /// Routes and prefixes that cannot be read.
    pub(super) fn unread(&self, count: usize) {
        self.counts().unread += u64::try_from(count).unwrap_or(u64::MAX);
    }
}

/// The protocol's name of a call.
pub(super) const fn method(call: &Call) -> &'static str {
    match call {
        Call::Exchange => "ExchangeState",
        Call::Announce(_) => "AnnounceRoutes",
        Call::Withdraw(_) => "WithdrawRoutes",
    }
}
