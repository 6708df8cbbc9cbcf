//! The run: rounds, in each of them one scenario after the other, in each of them turns.
//!
//! A machine is not the same a quarter of an hour later: the host has other work, a process has its pages elsewhere. So
//! the rounds of a scenario lie apart by all other scenarios, and each has processes of its own, and what lies between
//! smallest and largest has that in it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::BenchError;
use crate::chart;
use crate::findings;
use crate::machine::{self, Machine};
use crate::noise::Listening;
use crate::reading::Reading;
use crate::report::{Findings, NotMeasured, Report};
use crate::scenario::Name;
use crate::setting::Setting;

/// A scenario, as far as it was measured.
struct Course {
    name: Name,
    took_s: f64,
    rounds: Vec<Vec<Reading>>,
    not_measured: Option<NotMeasured>,
}

/// Measures `names`. One that fails is told so in the report, and keeps the others from nothing.
///
/// # Errors
/// Nothing is known about the machine.
pub(crate) async fn measure(setting: Setting, names: &[Name]) -> Result<Report, BenchError> {
    let machine = Machine::this()?;
    let (began, load_average_before) = (machine::now(), machine::load_average()?);
    let mut listening = Listening::begin()?;
    let mut courses: Vec<Course> = names.iter().map(|name| Course::new(*name)).collect();
    for round in 0..setting.plan.rounds {
        for course in courses.iter_mut().filter(|course| course.not_measured.is_none()) {
            listening.again();
            course.go_on(&setting, round).await;
        }
    }
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        began,
        ended: machine::now(),
        machine,
        load_average_before,
        load_average_after: machine::load_average()?,
        noise: listening.end()?,
        setting,
        scenarios: courses.into_iter().map(Course::found).collect(),
    })
}

impl Course {
    fn new(name: Name) -> Self {
        Self { name, took_s: 0.0, rounds: Vec::new(), not_measured: None }
    }

    /// One more round, with processes of its own.
    async fn go_on(&mut self, setting: &Setting, round: u32) {
        let begin = Instant::now();
        say(&format!("round {} of {}: {}", round + 1, setting.plan.rounds, self.name.word()));
        match self.name.round(setting, round).await {
            Ok(readings) => self.rounds.push(readings),
            Err(error) => {
                say(&format!("{}: {error}", self.name.word()));
                let allowed = matches!(error, BenchError::NotHere(_));
                self.not_measured = Some(NotMeasured { why: error.to_string(), allowed });
            }
        }
        self.took_s += begin.elapsed().as_secs_f64();
    }

    fn found(self) -> Findings {
        Findings {
            name: self.name.word(),
            about: self.name.about(),
            took_s: self.took_s,
            lines: findings::lines(&self.rounds),
            rounds: self.rounds,
            not_measured: self.not_measured,
        }
    }
}

/// Writes the figures, and a chart of each scenario that has some, into `folder`.
///
/// # Errors
/// The folder cannot be written to.
pub(crate) fn write(report: &Report, folder: &Path) -> Result<(), BenchError> {
    let failed = || BenchError::system("write the figures");
    write_json(&serde_json::to_string_pretty(report)?, folder, "figures.json")?;
    for findings in report.scenarios.iter().filter(|findings| !findings.lines.is_empty()) {
        let chart = chart::of(findings, report);
        fs::write(folder.join(format!("{}.svg", findings.name)), chart).map_err(failed())?;
    }
    say(&format!("figures.json and charts are in {}", folder.display()));
    Ok(())
}

/// Writes a file of figures into `folder`.
///
/// # Errors
/// The folder cannot be written to.
pub(crate) fn write_json(json: &str, folder: &Path, name: &str) -> Result<(), BenchError> {
    let failed = || BenchError::system("write the figures");
    fs::create_dir_all(folder).map_err(failed())?;
    fs::write(folder.join(name), format!("{json}\n")).map_err(failed())
}

/// Tells how far it is, without getting into the figures.
pub(crate) fn say(what: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{what}");
}
