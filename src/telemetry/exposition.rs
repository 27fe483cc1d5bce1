//! Prometheus' text format, version 0.0.4, written by hand.
//!
//! `prometheus-client` writes `OpenMetrics`, in which a counter is declared without its `_total`: read as Prometheus
//! text, as scripts and `promtool check metrics` do, its counters have no type and no help. What is left of such a
//! crate is these lines.

use std::fmt::{Display, Write as _};

/// What `/metrics` says it sends.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes metrics one after another. Labels and their values are this program's own words, so that none needs escaping.
pub(super) struct Exposition {
    out: String,
    name: &'static str,
}

impl Exposition {
    pub(super) fn new() -> Self {
        Self { out: String::with_capacity(8_192), name: "" }
    }

    /// Begins a metric; `kind` is `counter`, `gauge` or `histogram`.
    pub(super) fn metric(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One value of the metric that was begun.
    pub(super) fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample("", labels, value);
    }

    /// A histogram's values: counts per bucket with their upper bounds in seconds, the last one without, and the sum.
    pub(super) fn histogram(&mut self, bounds: &[f64], counts: &[u64], sum_seconds: f64) {
        let mut below = 0;
        for (n, count) in counts.iter().enumerate() {
            below += count;
            match bounds.get(n) {
                Some(bound) => self.sample("_bucket", &[("le", &bound.to_string())], below),
                None => self.sample("_bucket", &[("le", "+Inf")], below),
            }
        }
        self.sample("_sum", &[], sum_seconds);
        self.sample("_count", &[], below);
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        for (n, (label, text)) in labels.iter().enumerate() {
            self.out.push(if n == 0 { '{' } else { ',' });
            let _ = write!(self.out, "{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}
