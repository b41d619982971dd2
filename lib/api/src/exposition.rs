//! Metrics in Prometheus' text format.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{Display, Write};

/// What a family of samples is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It never falls, but to zero.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Counts by upper ends, a count and a sum.
    Histogram,
    /// A count and a sum.
    Summary,
    /// Without a TYPE line.
    Untyped,
}

impl Kind {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Counter => Some("counter"),
            Self::Gauge => Some("gauge"),
            Self::Histogram => Some("histogram"),
            Self::Summary => Some("summary"),
            Self::Untyped => None,
        }
    }
}

/// A text of metrics in the making: families, each followed by its samples.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// Begins a family of samples.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        self.family = name;
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.text, "# HELP {name} {help}");
        if let Some(word) = kind.word() {
            let _ = writeln!(self.text, "# TYPE {name} {word}");
        }
        self
    }

    /// Adds a sample of the family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.suffixed("", labels, value)
    }

    /// The same with an ending of the name: `_bucket`, `_sum` or `_count`.
    pub fn suffixed(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) -> &mut Self {
        self.text.push_str(self.family);
        self.text.push_str(suffix);
        let mut opening = '{';
        for (name, label) in labels {
            let escaped = label
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.text, "{opening}{name}=\"{escaped}\"");
            opening = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }

    /// Adds a histogram: `buckets` are upper ends in seconds, and how many samples lie between each and the one before.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl IntoIterator<Item = (f64, u64)>,
        (count, sum): (u64, f64),
    ) -> &mut Self {
        let mut below = 0;
        for (end, samples) in buckets {
            below += samples;
            let end = end.to_string();
            let mut labels = labels.to_vec();
            labels.push(("le", end.as_str()));
            self.suffixed("_bucket", &labels, below);
        }
        let mut endless = labels.to_vec();
        endless.push(("le", "+Inf"));
        self.suffixed("_bucket", &endless, count);
        self.suffixed("_sum", labels, sum);
        self.suffixed("_count", labels, count)
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_buckets_add_up() {
        let mut text = Exposition::default();
        text.family("a", Kind::Gauge, "one\nline")
            .sample(&[("n", "q\"\\\n")], 1)
            .sample(&[], 2);
        text.family("h", Kind::Histogram, "h").histogram(
            &[("x", "y")],
            [(0.5, 2), (1.0, 1)],
            (4, 7.5),
        );
        let expected = "# HELP a one\\nline\n# TYPE a gauge\na{n=\"q\\\"\\\\\\n\"} 1\na 2\n\
            # HELP h h\n# TYPE h histogram\nh_bucket{x=\"y\",le=\"0.5\"} 2\nh_bucket{x=\"y\",le=\"1\"} 3\n\
            h_bucket{x=\"y\",le=\"+Inf\"} 4\nh_sum{x=\"y\"} 7.5\nh_count{x=\"y\"} 4\n";
        assert_eq!(text.into_text(), expected);
    }
}
