//! Many ADDs and DELs at once, some of them killed: no address twice, no leak, no failure that was
//! not a kill.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use weft_store::BackendKind;
use weft_testkit::{Call, Container, Driver, Feature, Host, HostState, Outcome, Suite, require};

use crate::commands::{ok, weft};

/// How long a call waits for a lock, in seconds: with 200 in front of it and a machine that does other things,
/// half a minute is soon over.
const PATIENCE: &str = "600";

/// A small generator of numbers: the tests choose what to kill by it, repeatably.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Runs a call and kills it after a delay, if there is one.
fn run(call: &Call, host: &Host, kill_after: Option<Duration>) -> Outcome {
    use std::io::Write;
    let mut child = host.run(|| call.command(host).spawn().unwrap());
    let _ = child.stdin.take().unwrap().write_all(call.input_bytes());
    if let Some(delay) = kill_after {
        std::thread::sleep(delay);
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    }
    let output = child.wait_with_output().unwrap();
    Outcome {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

struct Storm<'a> {
    suite: &'a Suite,
    host: &'a Host,
    conf: Value,
    /// Addresses in the hands of attachments that nobody is deleting.
    held: Mutex<BTreeMap<String, String>>,
    done: AtomicUsize,
    killed: AtomicUsize,
}

impl Storm<'_> {
    /// One round for one container: ADD and DEL, each killed now and then, then a DEL that is not.
    fn round(&self, container: &Container, id: &str, random: &mut Random) {
        let call = |verb: &str| {
            Call::new(self.suite, verb, &self.conf)
                .container(container)
                .id(id)
                .var("WEFT_LOCK_TIMEOUT", PATIENCE)
        };
        let delay = |random: &mut Random| {
            (random.below(8) == 0).then(|| Duration::from_micros(random.below(2500)))
        };
        let kill_after = delay(random);
        let outcome = run(&call("ADD"), self.host, kill_after);
        self.done.fetch_add(1, Ordering::Relaxed);
        let address = match outcome.status {
            Some(0) => {
                let result: Value = serde_json::from_str(&outcome.stdout).unwrap();
                Some(result["ips"][0]["address"].as_str().unwrap().to_owned())
            }
            None => None,
            Some(_) => panic!("an ADD that was not killed failed: {}", outcome.stdout),
        };
        if outcome.status.is_none() {
            self.killed.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(address) = &address {
            let before = self
                .held
                .lock()
                .unwrap()
                .insert(address.clone(), id.to_owned());
            assert_eq!(before, None, "{address} is in two hands");
            self.held.lock().unwrap().remove(address);
        }
        let kill_after = delay(random);
        let outcome = run(&call("DEL"), self.host, kill_after);
        self.done.fetch_add(1, Ordering::Relaxed);
        if outcome.is_success() {
            return;
        }
        assert_eq!(
            outcome.status, None,
            "a DEL that was not killed failed: {}",
            outcome.stdout
        );
        self.killed.fetch_add(1, Ordering::Relaxed);
        run(&call("DEL"), self.host, None).ok();
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

fn storm(driver: Driver, backend: BackendKind, workers: u64, operations: usize) {
    storm_of(driver, backend, workers, operations, &json!({}));
}

fn storm_of(driver: Driver, backend: BackendKind, workers: u64, operations: usize, keys: &Value) {
    let suite = Suite::weft().with(driver);
    let host = Host::with_backend(backend);
    suite.prepare(&host);
    let mut conf = suite.network_conf("net", "10.1.0.0/20", host.dir());
    match driver {
        Driver::Bridge => conf["ipMasq"] = json!(true),
        Driver::Macvlan | Driver::Ipvlan => {
            host.sh("ip addr add 10.1.15.254/20 dev lan0");
            conf["hostAccess"] = true.into();
        }
    }
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    let warm = host.container();
    Call::new(&suite, "ADD", &conf)
        .container(&warm)
        .on(&host)
        .ok();
    Call::new(&suite, "DEL", &conf)
        .container(&warm)
        .on(&host)
        .ok();
    let before = HostState::of(&host);
    let storm = Storm {
        suite: &suite,
        host: &host,
        conf,
        held: Mutex::default(),
        done: AtomicUsize::new(0),
        killed: AtomicUsize::new(0),
    };
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let storm = &storm;
            scope.spawn(move || {
                let container = storm.host.container();
                let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (worker + 1));
                let mut round = 0;
                while storm.done.load(Ordering::Relaxed) < operations {
                    round += 1;
                    storm.round(&container, &format!("w{worker}-{round}"), &mut random);
                }
            });
        }
    });
    let (done, killed) = (storm.done.into_inner(), storm.killed.into_inner());
    println!("{driver:?} on {backend:?}: {done} operations, {killed} killed");
    assert!(
        done >= operations && killed > operations / 100,
        "{done} operations, {killed} killed"
    );
    before.assert_same(&host, "the storm");
    assert_eq!(ok(&weft(&suite, &host, &["firewall", "diff"])), "");
}

/// 200 at a time, as many operations as fit a test run.
fn operations(default: usize) -> usize {
    std::env::var("WEFT_STORM")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn a_storm_leaves_nothing_on_redb() {
    storm(Driver::Bridge, BackendKind::Redb, 200, operations(10_000));
}

#[test]
fn a_storm_leaves_nothing_on_sled() {
    // It takes sled a second for what redb does in a twentieth of one.
    storm(
        Driver::Bridge,
        BackendKind::Sled,
        200,
        operations(10_000) / 10,
    );
}

/// With everything closed, and rules that come with the first container and go with the last.
#[test]
fn a_storm_of_closed_containers_leaves_nothing() {
    let policy = json!({"ingress": [{"from": {"network": "net"}, "ports": ["tcp/80"]}]});
    let keys = json!({"isolation": "full", "policy": policy});
    let operations = operations(10_000) / 5;
    storm_of(Driver::Bridge, BackendKind::Redb, 50, operations, &keys);
}

#[test]
fn a_storm_on_a_parent_leaves_nothing() {
    storm(
        Driver::Macvlan,
        BackendKind::Redb,
        50,
        operations(10_000) / 4,
    );
}

#[test]
fn a_storm_of_ipvlans_leaves_nothing() {
    if require(
        Feature::Ipvlan,
        "concurrency::a_storm_of_ipvlans_leaves_nothing",
    ) {
        storm(
            Driver::Ipvlan,
            BackendKind::Redb,
            8,
            operations(10_000) / 50,
        );
    }
}

/// Many containers go at once: their links are deleted together, none is left.
#[test]
fn fifty_go_at_once() {
    let suite = Suite::weft();
    let host = Host::new();
    let conf = suite.network_conf("net", "10.1.0.0/24", host.dir());
    let containers: Vec<Container> = (0..50).map(|_| host.container()).collect();
    let all = |verb: &str| {
        std::thread::scope(|scope| {
            let start = |container| {
                let call = Call::new(&suite, verb, &conf).container(container);
                let host = &host;
                scope.spawn(move || call.on(host).ok())
            };
            let running: Vec<_> = containers.iter().map(start).collect();
            running
                .into_iter()
                .for_each(|one| drop(one.join().unwrap()));
        });
    };
    all("ADD");
    assert_eq!(host.sh("ip -o link show type veth").lines().count(), 50);
    all("DEL");
    assert_eq!(host.sh("ip -o link show type veth").lines().count(), 0);
}
