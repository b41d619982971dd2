//! What it costs that calls are counted, and that the counters are read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_testkit::{AtEnd, Call, Container, Host, Suite};

use super::measure::{Side, leave, median, millis};
use super::report::Report;

/// A host whose calls are counted, or not.
fn side(counts: bool) -> Side {
    let side = Side::new(Suite::weft(), Host::new(), &json!({}));
    let text = format!("[vnet]\nmetrics_enabled = {counts}\n");
    std::fs::write(side.host.dir().join("weft.toml"), text).unwrap();
    side
}

/// An ADD with its line in the operations file against one without.
pub(crate) fn line(report: &mut Report, rounds: usize) {
    let sides = [side(false), side(true)];
    let mut times: [Vec<f64>; 2] = Default::default();
    for round in 0..=rounds {
        for (side, times) in sides.iter().zip(&mut times) {
            let container = side.host.container();
            let mut prev = Value::Null;
            let cost = side.run("ADD", &container, &mut prev);
            side.run("DEL", &container, &mut prev);
            // The first makes bridge, store and chains.
            if round > 0 {
                times.push(cost.wall);
            }
        }
    }
    let [without, with] = times.map(median);
    report.row("bridge ADD: counted against not, ms", without, with, None);
    report.note(
        "bridge ADD: what counting adds",
        with - without,
        "ms, aim 0.05",
    );
}

/// ADDs, eight at a time, while the metrics are read once a second, against the same by themselves.
pub(crate) fn read_meanwhile(report: &mut Report, count: usize, rounds: usize) {
    let side = side(true);
    let mut times: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds {
        for (is_read, times) in [false, true].iter().zip(&mut times) {
            times.push(storm(&side, count, *is_read));
        }
    }
    let [alone, read] = times.map(median);
    let what = format!("{count} ADDs: metrics read meanwhile, ms");
    report.row(&what, alone, read, Some(1.05));
}

fn storm(side: &Side, count: usize, is_read: bool) -> f64 {
    const AT_ONCE: usize = 8;
    let containers: Vec<Container> = (0..count).map(|_| side.host.container()).collect();
    let is_over = AtomicBool::new(false);
    let read = || {
        while !is_over.load(Ordering::Relaxed) {
            Call::weft(&side.suite, &["metrics"]).on(&side.host);
            let end = Instant::now() + Duration::from_secs(1);
            while Instant::now() < end && !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    let took = std::thread::scope(|scope| {
        if is_read {
            scope.spawn(read);
        }
        let start = Instant::now();
        let parts = containers.chunks(count.div_ceil(AT_ONCE));
        let running: Vec<_> = parts
            .map(|part| {
                scope.spawn(move || {
                    for container in part {
                        side.run("ADD", container, &mut Value::Null);
                    }
                })
            })
            .collect();
        let end = AtEnd(&is_over);
        running.into_iter().for_each(|one| one.join().unwrap());
        drop(end);
        millis(start.elapsed())
    });
    for container in &containers {
        side.run("DEL", container, &mut Value::Null);
    }
    leave(containers);
    took
}
