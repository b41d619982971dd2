//! Growth with the number of attachments: an ADD on a full host, and hundreds going at once.

use std::time::Instant;

use serde_json::{Value, json};
use weft_testkit::{Container, Host, Suite};

use crate::floor::bare_messages;
use crate::measure::{Side, median, millis};
use crate::report::Report;

/// Adds and deletes single containers while `count` others stay.
pub(crate) fn present(report: &mut Report, count: usize, rounds: usize) {
    for suite in [Suite::reference(), Suite::weft()] {
        let name = if suite.is_weft() { "weft" } else { "reference" };
        let side = Side::new(suite, Host::new(), &json!({"ipMasq": true}));
        let cycle = |side: &Side| {
            let container = side.host.container();
            let mut prev = Value::Null;
            let add = side.run("ADD", &container, &mut prev).wall;
            side.run("DEL", &container, &mut prev);
            add
        };
        cycle(&side);
        let empty = median((0..rounds).map(|_| cycle(&side)));
        let (bare_empty, _) = bare_messages(&side.host, "wtest0", rounds);
        let mut staying = Vec::new();
        for _ in 0..count {
            let container = side.host.container();
            side.run("ADD", &container, &mut Value::Null);
            staying.push(container);
        }
        let full = median((0..rounds).map(|_| cycle(&side)));
        let budget = (name == "weft").then_some(1.1);
        report.row(
            &format!("{name} ADD: empty, {count} present, ms"),
            empty,
            full,
            budget,
        );
        if side.suite.is_weft() {
            // The kernel's own growth: the rest of the row above is Weft's.
            let (bare_full, _) = bare_messages(&side.host, "wtest0", rounds);
            let what = format!("floor, bare messages: empty, {count} present, ms");
            report.row(&what, bare_empty, bare_full, None);
        }
    }
}

/// A node is drained: hundreds of DELs, as many at a time as there are.
pub(crate) fn go_at_once(report: &mut Report, count: usize) {
    let side = Side::new(Suite::weft(), Host::new(), &json!({"ipMasq": true}));
    let containers: Vec<Container> = (0..count).map(|_| side.host.container()).collect();
    let mut prev = vec![Value::Null; count];
    let start = Instant::now();
    eight_at_a_time(&side, "ADD", &containers, &mut prev);
    report.note(
        &format!("{count} ADDs, 8 at a time"),
        millis(start.elapsed()),
        "ms",
    );
    let start = Instant::now();
    eight_at_a_time(&side, "DEL", &containers, &mut prev);
    report.note(
        &format!("{count} DELs, 8 at a time"),
        millis(start.elapsed()),
        "ms",
    );
    let start = Instant::now();
    eight_at_a_time(&side, "ADD", &containers, &mut vec![Value::Null; count]);
    let again = millis(start.elapsed());
    report.note(&format!("{count} ADDs again, 8 at a time"), again, "ms");
    let mut prev = vec![Value::Null; count];
    let all = crate::cases::all_at_once(&side, "DEL", &containers, &mut prev);
    report.note(&format!("{count} DELs at once"), all, "ms");
    let one = all / count as f64;
    report.note(&format!("{count} DELs at once, each"), one, "ms");
}

fn eight_at_a_time(side: &Side, verb: &str, containers: &[Container], prev: &mut [Value]) {
    let next = std::sync::Mutex::new(containers.iter().zip(prev.iter_mut()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((container, prev)) = { next.lock().unwrap().next() } {
                    side.run(verb, container, prev);
                }
            });
        }
    });
}
