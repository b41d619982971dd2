//! Other servers: which one is asked first, which are left alone for a while, which ask back here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many questions in a row without an answer, and a server is down.
const FAILURES: u32 = 2;
/// For so long others are asked before one that is down.
const REST: Duration = Duration::from_secs(5);
/// One that asks back here is tried again after this time.
pub(super) const LOOP_REST: Duration = Duration::from_secs(60);
/// The next server is asked if one takes so much longer than it usually does, within these limits.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_millis(800);

/// What is known of a server.
#[derive(Debug, Clone, Default)]
pub(super) struct Server {
    /// Smoothed time of its answers.
    pub(super) time: Option<Duration>,
    failures: u32,
    failed_at: Option<Instant>,
    loops_since: Option<Instant>,
    pub(super) asked: u64,
    pub(super) timeouts: u64,
}

impl Server {
    pub(super) fn is_down(&self) -> bool {
        let is_recent = self.failed_at.is_some_and(|at| at.elapsed() < REST);
        self.failures >= FAILURES && is_recent
    }

    pub(super) fn is_looping(&self) -> bool {
        self.loops_since
            .is_some_and(|since| since.elapsed() < LOOP_REST)
    }

    pub(super) fn state(&self) -> &'static str {
        match (self.is_looping(), self.is_down()) {
            (true, _) => "looping",
            (false, true) => "down",
            (false, false) => "up",
        }
    }
}

/// All servers that have been asked.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    servers: HashMap<IpAddr, Server>,
    /// Names that servers were asked for to see whether the question comes back here.
    probes: HashMap<Vec<u8>, IpAddr>,
    pub(super) loops_detected: u64,
}

impl Upstreams {
    /// The order in which servers are asked: those that are up first, the faster the sooner. One that asks back here is
    /// not asked.
    pub(super) fn in_order(&self, servers: &[IpAddr]) -> Vec<IpAddr> {
        let know = |ip: &IpAddr| self.servers.get(ip);
        let mut order: Vec<IpAddr> = servers.to_vec();
        order.retain(|ip| !know(ip).is_some_and(Server::is_looping));
        order.sort_by_key(|ip| {
            let server = know(ip);
            let time = server.and_then(|server| server.time).unwrap_or_default();
            // Differences within the tenth of a second change with each answer: the configured order counts then.
            (server.is_some_and(Server::is_down), time.as_millis() / 100)
        });
        order
    }

    /// How long to wait for a server before another one is asked too.
    pub(super) fn wait_for(&self, server: IpAddr) -> Duration {
        let time = self.servers.get(&server).and_then(|one| one.time);
        time.map_or(SHORTEST_WAIT, |time| {
            (2 * time).clamp(SHORTEST_WAIT, LONGEST_WAIT)
        })
    }

    pub(super) fn asks(&mut self, server: IpAddr) {
        self.servers.entry(server).or_default().asked += 1;
    }

    pub(super) fn answered(&mut self, server: IpAddr, time: Duration) {
        let server = self.servers.entry(server).or_default();
        server.failures = 0;
        server.failed_at = None;
        server.time = Some(match server.time {
            Some(before) => (7 * before + time) / 8,
            None => time,
        });
    }

    pub(super) fn failed(&mut self, server: IpAddr) {
        let server = self.servers.entry(server).or_default();
        server.failures = server.failures.saturating_add(1);
        server.failed_at = Some(Instant::now());
        server.timeouts += 1;
    }

    /// A name of which the question must not come back.
    pub(super) fn probe(&mut self, name: Vec<u8>, server: IpAddr) {
        self.probes.insert(name, server);
    }

    pub(super) fn has_probes(&self) -> bool {
        !self.probes.is_empty()
    }

    pub(super) fn is_looping(&self, server: IpAddr) -> bool {
        self.servers.get(&server).is_some_and(Server::is_looping)
    }

    pub(super) fn end_probe(&mut self, name: &[u8]) {
        self.probes.remove(name);
    }

    /// Whether a question is one of this daemon's own that has come back; which server has sent it.
    pub(super) fn is_own_probe(&mut self, name: &[u8]) -> Option<IpAddr> {
        let server = *self.probes.get(name)?;
        let known = self.servers.entry(server).or_default();
        known.loops_since = Some(Instant::now());
        self.loops_detected += 1;
        Some(server)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&IpAddr, &Server)> {
        self.servers.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn the_one_that_answers_is_asked_first() {
        let mut all = Upstreams::default();
        let servers = [ip(1), ip(2), ip(3)];
        assert_eq!(all.in_order(&servers), servers);
        all.failed(ip(1));
        assert_eq!(all.in_order(&servers), servers, "once is no rule");
        all.failed(ip(1));
        assert_eq!(all.in_order(&servers), [ip(2), ip(3), ip(1)]);
        all.answered(ip(2), Duration::from_millis(900));
        assert_eq!(all.in_order(&servers), [ip(3), ip(2), ip(1)]);
        assert_eq!(all.wait_for(ip(2)), LONGEST_WAIT);
        all.answered(ip(1), Duration::from_millis(1));
        assert_eq!(all.in_order(&servers)[0], ip(1));
        all.probe(b"x".to_vec(), ip(1));
        assert_eq!(all.is_own_probe(b"x"), Some(ip(1)));
        assert_eq!(all.in_order(&servers), [ip(3), ip(2)]);
        assert_eq!(all.servers[&ip(1)].state(), "looping");
        all.end_probe(b"x");
        assert_eq!(all.is_own_probe(b"x"), None);
    }
}
