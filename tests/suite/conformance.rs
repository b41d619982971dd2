//! The conformance suite on Weft: every item holds.

use weft_testkit::Suite;
use weft_tests::{Verdict, items, run};

/// Runs the items whose position is in a share of the list, so that the shares run in parallel.
fn share(share: usize, of: usize) {
    let suite = Suite::weft();
    let mut failures = Vec::new();
    for item in items().iter().skip(share).step_by(of) {
        if let Verdict::Fail(why) = run(item, &suite) {
            failures.push(format!("{} {}: {why}", item.number, item.title));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_item_holds_1() {
    share(0, 4);
}

#[test]
fn every_item_holds_2() {
    share(1, 4);
}

#[test]
fn every_item_holds_3() {
    share(2, 4);
}

#[test]
fn every_item_holds_4() {
    share(3, 4);
}

/// The suite finds what it is there to find: the reference fails the items of its known defects
/// (those that do not depend on chance).
#[test]
fn the_suite_finds_the_references_defects() {
    let suite = Suite::reference();
    for number in ["R1", "R2", "R3", "R12", "R15"] {
        let item = items()
            .into_iter()
            .find(|item| item.number == number)
            .unwrap();
        let verdict = run(&item, &suite);
        assert!(matches!(verdict, Verdict::Fail(_)), "{number}: {verdict:?}");
    }
}
