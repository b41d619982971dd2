//! Killing or stopping a plugin at an exact system call, by strace.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::call::{Call, Outcome};
use crate::host::Host;

/// One system call of a run: which, and the how-many-eth of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemCall {
    /// As strace prints it.
    pub name: String,
    /// From 1.
    pub occurrence: usize,
}

/// Runs a call and lists its system calls, in order.
pub fn system_calls(call: &Call, host: &Host) -> (Outcome, Vec<SystemCall>) {
    let log = host.dir().join("trace");
    let wrapper = ["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "--"];
    let outcome = call
        .clone()
        .under(wrapper.map(str::to_owned).to_vec())
        .on(host);
    (outcome, calls_in(&fs::read_to_string(&log).unwrap()))
}

/// The system calls of strace's log, in order.
fn calls_in(text: &str) -> Vec<SystemCall> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        // "1234  name(arguments…": signals and exits look different.
        let rest = line
            .split_once(' ')
            .map_or(line, |(_, rest)| rest.trim_start());
        let Some((name, _)) = rest.split_once('(') else {
            continue;
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let occurrence = seen.entry(name.to_owned()).or_default();
        *occurrence += 1;
        calls.push(SystemCall {
            name: name.to_owned(),
            occurrence: *occurrence,
        });
    }
    calls
}

/// strace, which sends a signal when calls are entered, and logs what it is asked to.
fn under_injection(call: &Call, signal: &str, at: &[&SystemCall], [trace, log]: [&str; 2]) -> Call {
    let mut wrapper: Vec<String> = ["strace", "-f", "-qq", "-o", log, "-e", trace]
        .map(str::to_owned)
        .to_vec();
    for SystemCall { name, occurrence } in at {
        let inject = format!("inject={name}:signal={signal}:when={occurrence}");
        wrapper.extend(["-e".to_owned(), inject]);
    }
    wrapper.push("--".to_owned());
    call.clone().under(wrapper)
}

/// Runs a call and kills it when it enters the given system call. Whether it was killed.
pub fn kill_at(call: &Call, host: &Host, at: &SystemCall) -> bool {
    let trace = format!("trace={}", at.name);
    let call = under_injection(call, "KILL", &[at], [&trace, "/dev/null"]);
    !call.on(host).is_success()
}

/// Runs a call, stops it when it enters the given system call, does something else, and lets it go on.
/// Its outcome, and that of what was done; none if the system call was never entered.
pub fn stopped_at<T>(
    call: &Call,
    host: &Host,
    at: &SystemCall,
    meanwhile: impl FnOnce() -> T,
) -> (Outcome, Option<T>) {
    let log = host.dir().join("stopped");
    fs::write(&log, "").unwrap();
    let call = under_injection(call, "STOP", &[at], ["trace=all", log.to_str().unwrap()]);
    let mut meanwhile = Some(meanwhile);
    let mut done = None;
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| call.on(host));
        while !running.is_finished() {
            let text = fs::read_to_string(&log).unwrap();
            let line = text
                .lines()
                .find(|line| line.contains("stopped by SIGSTOP"));
            if let Some(pid) = line.and_then(|line| line.split(' ').next()?.parse().ok())
                && let Some(meanwhile) = meanwhile.take()
            {
                let _stopped = Stopped(Pid::from_raw(pid));
                done = Some(meanwhile());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        running.join().unwrap()
    });
    (outcome, done)
}

/// A process that goes on when this is dropped. If a test has failed meanwhile it is killed: whoever waits
/// for it would wait for ever.
struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        let signal = match std::thread::panicking() {
            true => Signal::SIGKILL,
            false => Signal::SIGCONT,
        };
        let _ = kill(self.0, signal);
    }
}
