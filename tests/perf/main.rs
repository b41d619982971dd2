//! Measures Weft beside the reference plugins: both in one run, alternating call by call, so that
//! what is compared is the ratio and not the machine.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program for a terminal, that stops where it cannot go on"
)]

mod attachments;
mod cases;
mod chain;
mod floor;
mod leases;
mod measure;
mod names;
mod operations;
mod overlay;
mod report;
mod throughput;

use std::process::ExitCode;

use report::Report;

/// Some of the measurements alone.
const PARTS: [&str; 9] = [
    "--parents",
    "--chain",
    "--chains-at-once",
    "--ports",
    "--among-elements",
    "--throughput",
    "--operations",
    "--names",
    "--overlay",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let unknown =
        |argument: &&String| *argument != "--short" && !PARTS.contains(&argument.as_str());
    if let Some(unknown) = arguments.iter().find(unknown) {
        let parts = PARTS.join(" | ");
        println!("weft-bench: {unknown} is unknown; usage: weft-bench [{parts}] [--short]");
        return ExitCode::from(2);
    }
    let is_short = arguments.iter().any(|argument| argument == "--short");
    let rounds = if is_short { 10 } else { 50 };
    let mut report = Report::default();
    report.machine();
    let is_asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if is_asked("--parents") {
        cases::on_a_parent(&mut report, rounds);
    } else if is_asked("--chain") {
        chains(&mut report, rounds, is_short);
    } else if is_asked("--chains-at-once") {
        chain::in_parallel(&mut report);
    } else if is_asked("--ports") {
        cases::publish(&mut report, 1000, 1);
    } else if is_asked("--among-elements") {
        chain::among_elements(&mut report, rounds);
    } else if is_asked("--throughput") {
        throughput::closed_and_open(&mut report, if is_short { 3 } else { 7 });
    } else if is_asked("--operations") {
        operations::line(&mut report, rounds * 4);
        operations::read_meanwhile(&mut report, 400, if is_short { 3 } else { 9 });
    } else if is_asked("--names") {
        by_name(&mut report, is_short);
    } else if is_asked("--overlay") {
        overlay::throughput(&mut report, if is_short { 2 } else { 5 });
    } else {
        everything(&mut report, rounds, is_short);
    }
    report.summary()
}

fn everything(report: &mut Report, rounds: usize, is_short: bool) {
    floor::measure(report, rounds);
    cases::one_by_one(report, rounds);
    chains(report, rounds, is_short);
    cases::in_parallel(report);
    cases::backends(report, rounds);
    attachments::present(report, if is_short { 60 } else { 300 }, rounds);
    attachments::go_at_once(report, if is_short { 60 } else { 500 });
    operations::line(report, rounds);
    operations::read_meanwhile(report, 400, 5);
    by_name(report, is_short);
    overlay::throughput(report, if is_short { 2 } else { 5 });
    leases::many(report, if is_short { 5_000 } else { 60_000 }, rounds);
}

fn by_name(report: &mut Report, is_short: bool) {
    names::questions(report, if is_short { 1 } else { 5 });
    names::changes(report, 5000);
    names::attach(report, if is_short { 2 } else { 9 });
}

/// Lists of plugins, ports, closed networks.
fn chains(report: &mut Report, rounds: usize, is_short: bool) {
    chain::one_by_one(report, rounds.min(30));
    chain::restart(report, rounds.min(20));
    chain::in_parallel(report);
    chain::many(report, if is_short { 100 } else { 1000 });
    chain::among_elements(report, rounds);
    throughput::closed_and_open(report, if is_short { 3 } else { 7 });
    cases::publish(report, 1, rounds.min(20));
    cases::publish(report, 1000, if is_short { 1 } else { 3 });
}
