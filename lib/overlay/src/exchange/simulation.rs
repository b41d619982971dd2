//! Many hosts in one process, with a clock of their own: messages that are late or lost, hosts that are cut off, killed and
//! started again, prefixes that move. What has to hold is looked at all the time, and once more when all is quiet.
//!
//! `WEFT_SIM_RUNS` says how many, `WEFT_SIM_SEED` where they begin; a failure names the seed.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use super::{Call, Exchange, Learned, Own, Rejection, Route, State};
use crate::config::Overlays;

const VNI: u32 = 7;
const LEASE: u32 = 30;
const HOLD: u64 = 60;

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers from the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A host looks at whom it has to call.
    Turn(usize, u64),
    /// A call has arrived.
    Arrives(usize, usize, u64, usize),
    /// Its answer has.
    Answered(usize, usize, u64, usize),
    /// A sign of life has arrived.
    Lives(usize, usize, u64),
    Fault,
}

struct Host {
    exchange: Exchange,
    is_alive: bool,
    /// Which of its lives it is: messages of another one do not count.
    life: u64,
    prefixes: BTreeSet<usize>,
    /// Those that it has had since its last start: nobody else's are believed.
    had: BTreeSet<ipnetwork::IpNetwork>,
    /// What its kernel has.
    kernel: Learned,
    /// Since its last start: when, what was known then, and who has spoken.
    started: Duration,
    remembered: Learned,
    has_spoken: BTreeSet<usize>,
    /// Peers with a connection, and calls on their way.
    open: BTreeSet<usize>,
    calling: BTreeSet<usize>,
}

struct World {
    random: Random,
    now: Duration,
    events: BinaryHeap<std::cmp::Reverse<(Duration, u64, Event)>>,
    number: u64,
    hosts: Vec<Host>,
    /// Pairs that do not hear each other.
    cut: BTreeSet<(usize, usize)>,
    messages: Vec<Option<(Call, State)>>,
    answers: Vec<Option<Result<Option<State>, Rejection>>>,
    has_faults: bool,
}

fn name(host: usize) -> String {
    format!("host-{host:03}")
}

fn overlays(host: usize, count: usize) -> Overlays {
    use std::fmt::Write;
    let mut text = format!(
        "[[overlay]]\nvni = {VNI}\nbridge = {{ name = \"br7\", ipv4 = \"10.7.0.{}/16\" }}\n\
         routing.import = {{ accept_all = true, install = {{ route_lease_seconds = {LEASE}, hold_seconds = {HOLD} }} }}\n\
         [security.control_plane]\ninsecure = true\n",
        host + 1
    );
    for peer in 0..count {
        let _ = write!(
            text,
            "[[peer]]\nid = \"{}\"\naddress = \"192.0.2.{}\"\n",
            name(peer),
            peer + 1
        );
    }
    toml::from_str(&text).unwrap()
}

fn own(host: usize, prefixes: &BTreeSet<usize>) -> Own {
    let route = |prefix: &usize| Route {
        vni: VNI,
        prefix: format!("172.{}.{}.0/24", 16 + prefix / 256, prefix % 256)
            .parse()
            .unwrap(),
        next_hop: format!("10.7.0.{}", host + 1).parse().unwrap(),
        metric: 100,
        lease_seconds: LEASE,
    };
    Own {
        routes: prefixes.iter().map(route).collect(),
        locals: vec![format!("192.0.2.{}", host + 1).parse().unwrap()],
        ..Own::default()
    }
}

impl World {
    fn new(seed: u64, count: usize) -> Self {
        let mut random = Random(seed);
        let hosts = (0..count).map(|host| {
            let prefixes = BTreeSet::from([host]);
            let mut exchange = Exchange::new(name(host), random.next());
            exchange.configure(name(host), overlays(host, count), own(host, &prefixes));
            Host {
                exchange,
                is_alive: true,
                life: 0,
                prefixes,
                had: BTreeSet::new(),
                kernel: Learned::default(),
                started: Duration::ZERO,
                remembered: Learned::default(),
                has_spoken: BTreeSet::new(),
                open: BTreeSet::new(),
                calling: BTreeSet::new(),
            }
        });
        let mut world = Self {
            hosts: hosts.collect(),
            random,
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            number: 0,
            cut: BTreeSet::new(),
            messages: Vec::new(),
            answers: Vec::new(),
            has_faults: true,
        };
        for host in 0..count {
            world.soon(1500, Event::Turn(host, 0));
        }
        world.soon(3000, Event::Fault);
        world
    }

    /// Within so many milliseconds.
    fn soon(&mut self, most: usize, event: Event) {
        let time =
            Duration::from_micros(1 + u64::try_from(self.random.below(most * 1000)).unwrap());
        self.number += 1;
        self.events
            .push(std::cmp::Reverse((self.now + time, self.number, event)));
    }

    fn after(&mut self, milliseconds: u64, event: Event) {
        self.number += 1;
        let at = self.now + Duration::from_millis(milliseconds);
        self.events
            .push(std::cmp::Reverse((at, self.number, event)));
    }

    fn hear_each_other(&mut self, one: usize, other: usize) -> bool {
        let is_cut = self.cut.contains(&(one.min(other), one.max(other)));
        let is_lost = self.has_faults && self.random.chance(2);
        !is_cut && !is_lost && self.hosts[one].is_alive && self.hosts[other].is_alive
    }

    fn run(&mut self, until: Duration) {
        while let Some(std::cmp::Reverse((at, _, event))) = self.events.pop() {
            if at > until {
                self.events.push(std::cmp::Reverse((at, 0, event)));
                break;
            }
            self.now = at;
            match event {
                Event::Turn(host, life) if self.hosts[host].life == life => self.turn(host),
                Event::Arrives(from, to, life, message) => self.arrives(from, to, life, message),
                Event::Answered(from, to, life, message) => self.answered(from, to, life, message),
                Event::Lives(from, to, life) => self.lives(from, to, life),
                Event::Fault => self.fault(),
                Event::Turn(..) => {}
            }
        }
        self.now = until;
    }

    /// Times are looked at, peers are called, signs of life are sent.
    fn turn(&mut self, host: usize) {
        let (now, life) = (self.now, self.hosts[host].life);
        if !self.hosts[host].is_alive {
            return;
        }
        for peer in 0..self.hosts.len() {
            if peer == host {
                continue;
            }
            let is_heard = self.hear_each_other(host, peer);
            let own = &mut self.hosts[host];
            match (is_heard, own.open.contains(&peer)) {
                (true, false) => {
                    own.exchange.opened(&name(peer));
                    own.open.insert(peer);
                }
                (false, true) if !own.calling.contains(&peer) => {
                    own.exchange.closed(&name(peer), "lost".to_owned());
                    own.open.remove(&peer);
                }
                _ => {}
            }
            self.call(host, peer);
            if is_heard {
                self.soon(100, Event::Lives(host, peer, life));
            }
        }
        self.hosts[host].exchange.expire(now);
        self.apply(host);
        self.after(1500, Event::Turn(host, life));
    }

    fn call(&mut self, host: usize, peer: usize) {
        let now = self.now;
        let own = &mut self.hosts[host];
        if !own.open.contains(&peer) || own.calling.contains(&peer) {
            return;
        }
        let Some(call) = own.exchange.next_call(now, &name(peer)) else {
            return;
        };
        own.calling.insert(peer);
        let (state, life) = (own.exchange.state(), own.life);
        self.messages.push(Some((call, state)));
        self.answers.push(None);
        let message = self.messages.len() - 1;
        self.soon(400, Event::Arrives(host, peer, life, message));
    }

    fn arrives(&mut self, from: usize, to: usize, life: u64, message: usize) {
        let is_heard = self.hear_each_other(from, to);
        let (call, state) = self.messages[message].clone().unwrap();
        if is_heard {
            let now = self.now;
            let there = &mut self.hosts[to];
            let stamp = state.stamp;
            let done = match &call {
                Call::Exchange => {
                    let believed = there.exchange.believe(now, state.clone());
                    believed.map(|()| Some(there.exchange.state()))
                }
                Call::Announce(routes) => {
                    let taken = there.exchange.announced(now, &state.node, stamp, routes);
                    taken.map(|_| None)
                }
                Call::Withdraw(routes) => {
                    let gone: Vec<_> = routes
                        .iter()
                        .map(|one| (Some(one.vni), one.prefix))
                        .collect();
                    let taken = there.exchange.withdrawn(now, &state.node, stamp, &gone);
                    taken.map(|_| None)
                }
            };
            there.has_spoken.insert(from);
            self.answers[message] = Some(done);
            self.apply(to);
        }
        self.soon(400, Event::Answered(from, to, life, message));
    }

    fn answered(&mut self, from: usize, to: usize, life: u64, message: usize) {
        let is_heard = self.hear_each_other(from, to);
        let (call, sent) = self.messages[message].take().unwrap();
        let answer = self.answers[message].take();
        let own = &mut self.hosts[from];
        if own.life != life {
            return;
        }
        own.calling.remove(&to);
        match answer.filter(|_| is_heard) {
            Some(Ok(answer)) => {
                if own
                    .exchange
                    .called(self.now, &name(to), &call, &sent, answer)
                    .is_ok()
                {
                    own.has_spoken.insert(to);
                }
            }
            _ => {
                own.exchange.closed(&name(to), "lost".to_owned());
                own.open.remove(&to);
            }
        }
        self.apply(from);
        self.call(from, to);
    }

    fn lives(&mut self, from: usize, to: usize, life: u64) {
        if self.hosts[from].life != life || !self.hear_each_other(from, to) {
            return;
        }
        let stamp = Some(self.hosts[from].exchange.stamp());
        let is_behind = self.hosts[to]
            .exchange
            .lives(self.now, &name(from), stamp)
            .unwrap();
        if is_behind {
            self.call(to, from);
        }
    }

    /// The kernel gets what is to be in force.
    fn apply(&mut self, host: usize) {
        let now = self.now;
        let one = &mut self.hosts[host];
        let learned = one.exchange.learned(now);
        one.had
            .extend(one.exchange.exported().iter().map(|route| route.prefix));
        let keys: BTreeSet<_> = learned.routes.iter().map(|one| one.route.key()).collect();
        assert_eq!(keys.len(), learned.routes.len(), "a prefix has two owners");
        // Nothing of before goes as long as whoever has it may still be there.
        if now < one.started + Duration::from_secs(LEASE.into()) {
            for before in &one.remembered.routes {
                let peer: usize = before.peer.trim_start_matches("host-").parse().unwrap();
                let is_there = keys.contains(&before.route.key());
                let is_own = one.had.contains(&before.route.prefix);
                assert!(
                    is_there || is_own || one.has_spoken.contains(&peer),
                    "{} of {} is gone from host {host} before it has spoken",
                    before.route.prefix,
                    before.peer
                );
            }
        }
        one.kernel = learned;
    }

    fn fault(&mut self) {
        if !self.has_faults {
            return;
        }
        let count = self.hosts.len();
        let host = self.random.below(count);
        match self.random.below(6) {
            0 => self.kill(host),
            1 => {
                let dead: Vec<usize> = (0..count)
                    .filter(|one| !self.hosts[*one].is_alive)
                    .collect();
                for one in dead {
                    self.start(one);
                }
            }
            2 => {
                let other = self.random.below(count);
                if host != other {
                    self.cut.insert((host.min(other), host.max(other)));
                }
            }
            3 => self.cut.clear(),
            _ => self.move_prefix(host),
        }
        self.soon(3000, Event::Fault);
    }

    fn kill(&mut self, host: usize) {
        let one = &mut self.hosts[host];
        one.is_alive = false;
        one.life += 1;
    }

    /// Started again, it knows what its kernel has.
    fn start(&mut self, host: usize) {
        let count = self.hosts.len();
        let generation = self.random.next();
        let one = &mut self.hosts[host];
        one.exchange = Exchange::new(name(host), generation);
        one.exchange
            .configure(name(host), overlays(host, count), own(host, &one.prefixes));
        one.exchange.remember(self.now, one.kernel.clone());
        one.remembered = one.kernel.clone();
        (one.is_alive, one.started) = (true, self.now);
        one.has_spoken.clear();
        one.had = one
            .exchange
            .exported()
            .iter()
            .map(|route| route.prefix)
            .collect();
        one.open.clear();
        one.calling.clear();
        let life = one.life;
        self.soon(1500, Event::Turn(host, life));
    }

    /// A prefix goes from one host to another, or comes up anew.
    fn move_prefix(&mut self, host: usize) {
        let count = self.hosts.len();
        let prefix = self.random.below(4 * count);
        let owner = (0..count).find(|one| self.hosts[*one].prefixes.contains(&prefix));
        for (one, has) in owner
            .map(|one| (one, false))
            .into_iter()
            .chain([(host, true)])
        {
            let it = &mut self.hosts[one];
            match has {
                true => it.prefixes.insert(prefix),
                false => it.prefixes.remove(&prefix),
            };
            let own = own(one, &it.prefixes);
            it.exchange.configure(name(one), overlays(one, count), own);
        }
    }

    /// No more faults; all that live hear each other. What each has is what the others have to tell.
    fn settle(&mut self) {
        self.has_faults = false;
        self.cut.clear();
        let until = self.now + Duration::from_secs(u64::from(LEASE) + HOLD + 10);
        self.run(until);
        for host in 0..self.hosts.len() {
            if !self.hosts[host].is_alive {
                continue;
            }
            let mut expected: BTreeMap<_, String> = BTreeMap::new();
            for (peer, there) in self.hosts.iter().enumerate() {
                if peer != host && there.is_alive {
                    let routes = there.exchange.exported().iter();
                    expected.extend(routes.map(|route| (route.key(), name(peer))));
                }
            }
            let has: BTreeMap<_, String> = (self.hosts[host].kernel.routes.iter())
                .map(|one| (one.route.key(), one.peer.clone()))
                .collect();
            assert_eq!(has, expected, "host {host}");
            assert!(
                self.hosts[host]
                    .kernel
                    .routes
                    .iter()
                    .all(|one| !one.is_stale)
            );
        }
    }
}

fn one_run(seed: u64, count: usize, seconds: u64) {
    let mut world = World::new(seed, count);
    world.run(Duration::from_secs(seconds));
    world.settle();
}

#[test]
fn whatever_happens_all_agree_in_the_end() {
    #[expect(clippy::disallowed_methods, reason = "the test's own, not Weft's")]
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let runs = number("WEFT_SIM_RUNS").unwrap_or(6);
    let first = number("WEFT_SIM_SEED").unwrap_or(1);
    for seed in first..first + runs {
        // One in twenty has as many hosts as there may be.
        let (count, seconds) = match seed % 20 {
            5 => (128, 20),
            _ => (2 + usize::try_from(seed % 12).unwrap(), 300),
        };
        let run = std::panic::catch_unwind(|| one_run(seed, count, seconds));
        assert!(run.is_ok(), "WEFT_SIM_SEED={seed}");
    }
    println!("{runs} runs");
}
