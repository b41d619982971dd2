//! One call of a plugin, timed; and statistics over several.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use weft_testkit::{Call, Container, Host, Suite};

/// What a call took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// From start to end, milliseconds.
    pub(crate) wall: f64,
    /// User and system time of the process and its children, milliseconds.
    pub(crate) cpu: f64,
}

/// One side of a comparison: a suite, its network, its host.
pub(crate) struct Side {
    pub(crate) suite: Suite,
    pub(crate) host: Host,
    pub(crate) conf: Value,
}

impl Side {
    pub(crate) fn new(suite: Suite, host: Host, keys: &Value) -> Self {
        suite.prepare(&host);
        let mut conf = suite.network_conf("bench", "10.100.0.0/16", host.dir());
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        Self { suite, host, conf }
    }

    /// Runs a verb for a container; its result goes into `prev` on ADD and comes from there else.
    pub(crate) fn run(&self, verb: &str, container: &Container, prev: &mut Value) -> Cost {
        let mut conf = self.conf.clone();
        if !prev.is_null() {
            conf["prevResult"] = prev.clone();
        }
        let call = Call::new(&self.suite, verb, &conf).container(container);
        let (cost, output) = timed(&call, &self.host);
        if verb == "ADD" {
            *prev = serde_json::from_slice(&output).unwrap_or_else(|_| {
                panic!("{verb} failed: {}", String::from_utf8_lossy(&output));
            });
        } else {
            assert!(
                output.is_empty(),
                "{verb} failed: {}",
                String::from_utf8_lossy(&output)
            );
        }
        cost
    }
}

fn cpu_of_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let part = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap())
    };
    part(usage.user_time()) + part(usage.system_time())
}

/// Runs a call on a host and returns what it cost and printed.
pub(crate) fn timed(call: &Call, host: &Host) -> (Cost, Vec<u8>) {
    host.run(|| timed_here(call, host))
}

/// As [`timed`], for a thread that is in the host's namespace already, as a runtime is: many calls at
/// once are not to wait for threads and namespaces of the benchmark's own.
pub(crate) fn timed_here(call: &Call, host: &Host) -> (Cost, Vec<u8>) {
    let mut command = call.command(host);
    let before = cpu_of_children();
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(call.input_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let cost = Cost {
        wall: millis(start.elapsed()),
        cpu: millis(cpu_of_children().saturating_sub(before)),
    };
    (cost, output.stdout)
}

/// Lets containers go, and waits: the kernel takes their namespaces down later, under a lock that the
/// next ADD needs.
pub(crate) fn leave<T>(gone: impl IntoIterator<Item = T>) {
    const EACH: Duration = Duration::from_millis(50);
    const ALL: Duration = Duration::from_secs(1);
    let count = gone.into_iter().count();
    std::thread::sleep(ALL.min(EACH * u32::try_from(count).unwrap()));
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Megabytes a second from one container to another by TCP, as iperf3's receiver counts them, in one second.
pub(crate) fn megabytes_a_second(client: &Container, server: &Container, to: &str) -> f64 {
    const PORT: &str = "9000";
    let serving = server.run(|| {
        let mut command = Command::new("iperf3");
        command.args(["--server", "--one-off", "--port", PORT]);
        command.stdout(Stdio::null()).spawn().unwrap()
    });
    let ready = format!("ss -Hltn sport = :{PORT} | grep -q .");
    while !server.succeeds(&ready) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let command = format!("iperf3 --client {to} --port {PORT} --time 1 --json");
    let text = client.sh(&command);
    serving.wait_with_output().unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let bits = &report["end"]["sum_received"]["bits_per_second"];
    bits.as_f64().unwrap_or_else(|| panic!("{report}")) / 8e6
}
