//! A conformance suite for CNI plugins: the specification, what runtimes rely on, and what users
//! of the reference plugins suffer from, as numbered items that run against any directory of
//! plugins.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    reason = "an item fails by panicking"
)]

mod add;
mod check;
mod config;
mod defects;
mod del;
mod gc;
mod ipam;
mod protocol;
mod runtime;
mod status;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use weft_testkit::Suite;

pub use world::World;

/// Why an item says nothing about a suite.
#[derive(Debug, Clone)]
pub struct NotApplicable(pub String);

/// One requirement.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// Its number in the checklist, or R and a number for a defect of the reference.
    pub number: &'static str,
    /// M: a MUST of the specification, S: a SHOULD, R: runtimes rely on it, B: better.
    pub kind: char,
    /// The requirement.
    pub title: &'static str,
    /// Panics if the suite does not meet it.
    pub check: fn(&World) -> Result<(), NotApplicable>,
}

/// What an item found.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Met.
    Pass,
    /// Not met, and how.
    Fail(String),
    /// Nothing to say, and why.
    NotApplicable(String),
}

/// Every item, in the order of the checklist.
pub fn items() -> Vec<Item> {
    [
        protocol::ITEMS,
        config::ITEMS,
        add::ITEMS,
        del::ITEMS,
        check::ITEMS,
        gc::ITEMS,
        status::ITEMS,
        runtime::ITEMS,
        ipam::ITEMS,
        defects::ITEMS,
    ]
    .concat()
}

/// Runs one item.
pub fn run(item: &Item, suite: &Suite) -> Verdict {
    let outcome = catch_unwind(AssertUnwindSafe(|| (item.check)(&World::new(suite))));
    match outcome {
        Ok(Ok(())) => Verdict::Pass,
        Ok(Err(NotApplicable(why))) => Verdict::NotApplicable(why),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Verdict::Fail(text.unwrap_or_else(|| "panicked".to_owned()))
        }
    }
}
