//! Killing a plugin at an exact system call, by strace.

use std::collections::BTreeMap;
use std::fs;

use crate::call::{Call, Outcome};
use crate::host::Host;

/// One system call of a run: which, and the how-many-eth of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemCall {
    /// Its name.
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
    let text = fs::read_to_string(&log).unwrap();
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
    (outcome, calls)
}

/// Runs a call and kills it when it enters the given system call. Whether it was killed.
pub fn kill_at(call: &Call, host: &Host, at: &SystemCall) -> bool {
    let inject = format!("inject={}:signal=KILL:when={}", at.name, at.occurrence);
    let trace = format!("trace={}", at.name);
    let wrapper = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &trace,
        "-e",
        &inject,
        "--",
    ];
    let outcome = call
        .clone()
        .under(wrapper.map(str::to_owned).to_vec())
        .on(host);
    !outcome.is_success()
}
