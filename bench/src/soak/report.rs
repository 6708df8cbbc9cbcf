//! The figures of a long run, and what they come to.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::flatness::{self, Finding};
use super::samples::Samples;
use super::tally::Tally;
use crate::BenchError;
use crate::machine::{self, Machine};

/// Everything that a run found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// When it ended, RFC 3339.
    ended: String,
    machine: Machine,
    seconds: f64,
    /// Somebody wanted it to end before its time.
    interrupted: bool,
    counts: serde_json::Value,
    /// The first errors.
    errors: Vec<String>,
    /// Processor time of the agent, in parts of one processor: mean over the run.
    cpu_percent: f64,
    /// Files of the audit record at the end.
    audit_files: usize,
    findings: Vec<Finding>,
    #[serde(skip)]
    line: String,
    pub(super) series: Samples,
}

impl Report {
    /// Of what was counted and sampled.
    pub(super) fn of(
        tally: &Tally,
        series: Samples,
        audit_files: usize,
        (length, interrupted): (Duration, bool),
    ) -> Result<Self, BenchError> {
        let cpu: f64 = series.samples.iter().map(|sample| sample.cpu_percent).sum();
        Ok(Self {
            ended: machine::now(),
            machine: Machine::this()?,
            seconds: length.as_secs_f64(),
            interrupted,
            counts: serde_json::to_value(tally)?,
            errors: tally.errors.first(),
            cpu_percent: cpu / series.samples.len().max(1) as f64,
            audit_files,
            findings: flatness::of(&series.samples, &series.lives()),
            line: tally.line(),
            series,
        })
    }

    /// No error, and all of it flat.
    pub(super) fn has_passed(&self) -> bool {
        self.errors.is_empty() && !self.findings.is_empty() && self.findings.iter().all(|finding| finding.flat)
    }

    /// For people.
    pub(super) fn summary(&self) -> String {
        let mut text = format!(
            "{} minutes{}, kernel {}, {} x {}, agent {:.0} % of a processor, {} files of audit record\n{}\n\n",
            (self.seconds / 60.0).round(),
            if self.interrupted { " (ended early)" } else { "" },
            self.machine.kernel,
            self.machine.cores,
            self.machine.processor,
            self.cpu_percent,
            self.audit_files,
            self.line,
        );
        let row = |cells: [&str; 6]| {
            let [stretch, quantity, earlier, later, at_most, verdict] = cells;
            format!("{stretch:<16}{quantity:<16}{earlier:>12}{later:>12}{at_most:>12}  {verdict}\n")
        };
        text.push_str(&row(["STRETCH", "QUANTITY", "2ND QUARTER", "LAST", "AT MOST", ""]));
        for finding in &self.findings {
            let [earlier, later, at_most] =
                [finding.earlier, finding.later, finding.at_most].map(|figure| format!("{figure:.0}"));
            let verdict = if finding.flat { "flat" } else { "GROWS" };
            text.push_str(&row([&finding.stretch, finding.quantity, &earlier, &later, &at_most, verdict]));
        }
        for error in &self.errors {
            // A String takes everything.
            let _ = writeln!(text, "error: {error}");
        }
        text.push_str(if self.has_passed() { "passed" } else { "FAILED" });
        text
    }
}
