//! The conformance suite on Weft: every item holds for every driver.

use weft_testkit::{Driver, Feature, Suite, require};
use weft_tests::{Verdict, items, run};

/// Runs the items whose position is in a share of the list, so that the shares run in parallel.
fn share(driver: Driver, share: usize) {
    const SHARES: usize = 4;
    let suite = Suite::weft().with(driver);
    let mut failures = Vec::new();
    for item in items().iter().skip(share).step_by(SHARES) {
        if let Verdict::Fail(why) = run(item, &suite) {
            failures.push(format!("{} {}: {why}", item.number, item.title));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The rows of one driver.
macro_rules! every_item_holds {
    ($module:ident, $driver:expr, $needs:expr) => {
        mod $module {
            use super::*;

            fn row(number: usize) {
                let needs: Option<Feature> = $needs;
                let name = format!("conformance::{}::{number}", stringify!($module));
                if needs.is_none_or(|feature| require(feature, &name)) {
                    share($driver, number);
                }
            }

            #[test]
            fn every_item_holds_1() {
                row(0);
            }

            #[test]
            fn every_item_holds_2() {
                row(1);
            }

            #[test]
            fn every_item_holds_3() {
                row(2);
            }

            #[test]
            fn every_item_holds_4() {
                row(3);
            }
        }
    };
}

every_item_holds!(bridge, Driver::Bridge, None);
every_item_holds!(macvlan, Driver::Macvlan, None);
every_item_holds!(ipvlan, Driver::Ipvlan, Some(Feature::Ipvlan));

/// The suite finds what it is there to find: the reference fails the items of its known defects
/// (those that do not depend on chance).
#[test]
fn the_suite_finds_the_references_defects() {
    let suite = Suite::reference();
    for number in ["R1", "R2", "R3", "R4", "R6", "R10", "R12", "R15"] {
        let item = items()
            .into_iter()
            .find(|item| item.number == number)
            .unwrap();
        let verdict = run(&item, &suite);
        assert!(matches!(verdict, Verdict::Fail(_)), "{number}: {verdict:?}");
    }
}
