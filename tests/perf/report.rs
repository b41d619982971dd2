//! The table.

use std::process::ExitCode;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    over: Vec<String>,
    within: usize,
}

impl Report {
    /// Says on what.
    pub(crate) fn machine(&self) {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!(
            "Linux {}, {cores} cores, load {}",
            kernel.trim(),
            load.trim()
        );
        println!(
            "{:<44} {:>10} {:>10} {:>8} {:>8}",
            "", "reference", "weft", "ratio", "budget"
        );
    }

    /// A row with both sides and, if there is one, the ratio that the design allows.
    pub(crate) fn row(&mut self, what: &str, reference: f64, weft: f64, budget: Option<f64>) {
        self.row_of_ratio(what, (reference, weft), weft / reference, budget);
    }

    /// The same where the ratio is another one than that of the two figures shown.
    pub(crate) fn row_of_ratio(
        &mut self,
        what: &str,
        (reference, weft): (f64, f64),
        ratio: f64,
        budget: Option<f64>,
    ) {
        let text = budget.map_or_else(String::new, |budget| format!("<= {budget}"));
        let mark = match budget {
            Some(budget) if ratio > budget => {
                self.over
                    .push(format!("{what}: {ratio:.2} instead of {budget}"));
                " over"
            }
            Some(_) => {
                self.within += 1;
                ""
            }
            None => "",
        };
        println!("{what:<44} {reference:>10.2} {weft:>10.2} {ratio:>8.3} {text:>8}{mark}");
    }

    /// A row of Weft alone.
    pub(crate) fn note(&self, what: &str, value: f64, unit: &str) {
        println!("{what:<44} {:>10} {value:>10.3} {unit}", "");
    }

    /// A line of words.
    pub(crate) fn remark(&self, text: &str) {
        println!("{text}");
    }

    /// The closing lines.
    pub(crate) fn summary(self) -> ExitCode {
        println!("\n{} budgets met, {} not", self.within, self.over.len());
        for line in &self.over {
            println!("  {line}");
        }
        ExitCode::SUCCESS
    }
}
