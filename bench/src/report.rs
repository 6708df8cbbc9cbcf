//! The figures of a whole run, in the form that is written.

use serde::Serialize;

use crate::findings::Line;
use crate::machine::Machine;
use crate::noise::Noise;
use crate::reading::Reading;
use crate::scenario::About;
use crate::setting::Setting;

/// Everything that a run found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Of this program.
    pub(crate) version: &'static str,
    /// When it began, RFC 3339.
    pub(crate) began: String,
    /// When it ended, RFC 3339.
    pub(crate) ended: String,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// Over the last minute, before it began.
    pub(crate) load_average_before: f64,
    /// Over the last minute, at its end: the run's own with it.
    pub(crate) load_average_after: f64,
    /// How far the machine kept still.
    pub(crate) noise: Noise,
    /// How it was taken.
    #[serde(flatten)]
    pub(crate) setting: Setting,
    /// One a scenario.
    pub(crate) scenarios: Vec<Findings>,
}

/// One scenario, over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Findings {
    /// Its name on the command line.
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) about: About,
    /// How long it took, in seconds, with starting and ending what it needs.
    pub(crate) took_s: f64,
    /// Its figures.
    pub(crate) lines: Vec<Line>,
    /// Each round's, as they were read.
    pub(crate) rounds: Vec<Vec<Reading>>,
    /// Why it was not measured, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_measured: Option<NotMeasured>,
}

/// What kept a scenario from being measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NotMeasured {
    /// In words.
    pub(crate) why: String,
    /// Whether that is no failure: this machine or user does not allow for it.
    pub(crate) allowed: bool,
}

impl Report {
    /// Names of the scenarios that failed.
    pub(crate) fn failed(&self) -> Vec<String> {
        let failed = |findings: &&Findings| findings.not_measured.as_ref().is_some_and(|not| !not.allowed);
        self.scenarios.iter().filter(failed).map(|findings| findings.name.clone()).collect()
    }
}
