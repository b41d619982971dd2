//! Runs the conformance suite against a directory of plugins and prints a line per item.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for a terminal"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use weft_testkit::{Driver, Suite};
use weft_tests::{Verdict, items, run};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(dir) = arguments.next().map(PathBuf::from) else {
        println!("usage: weft-conform DIRECTORY-OF-PLUGINS [bridge|macvlan|ipvlan] [ITEM…]");
        return ExitCode::from(2);
    };
    let mut only: Vec<String> = arguments.collect();
    let driver = match only.first().map(String::as_str) {
        Some("bridge") => Some(Driver::Bridge),
        Some("macvlan") => Some(Driver::Macvlan),
        Some("ipvlan") => Some(Driver::Ipvlan),
        _ => None,
    };
    if driver.is_some() {
        only.remove(0);
    }
    let suite = Suite::in_dir(&dir).with(driver.unwrap_or(Driver::Bridge));
    std::panic::set_hook(Box::new(|_| {}));
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for item in items() {
        if !only.is_empty() && !only.iter().any(|number| number == item.number) {
            continue;
        }
        let (verdict, why) = match run(&item, &suite) {
            Verdict::Pass => ("pass", String::new()),
            Verdict::Fail(why) => ("FAIL", format!(": {}", why.replace('\n', " | "))),
            Verdict::NotApplicable(why) => ("n/a ", format!(": {why}")),
        };
        match verdict {
            "pass" => passed += 1,
            "FAIL" => failed += 1,
            _ => skipped += 1,
        }
        println!(
            "{verdict} {:>3} {} {}{why}",
            item.number, item.kind, item.title
        );
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
