//! The run: one scenario after the other, in each of them rounds, in each of them turns.

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

/// Measures `names`. One that fails is told so in the report, and keeps the others from nothing.
///
/// # Errors
/// Nothing is known about the machine.
pub(crate) async fn measure(setting: Setting, names: &[Name]) -> Result<Report, BenchError> {
    let machine = Machine::this()?;
    let (began, load_average_before) = (machine::now(), machine::load_average()?);
    let mut listening = Listening::begin()?;
    let mut scenarios = Vec::new();
    for name in names {
        scenarios.push(scenario(*name, &setting, &mut listening).await);
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
        scenarios,
    })
}

async fn scenario(name: Name, setting: &Setting, listening: &mut Listening) -> Findings {
    let begin = Instant::now();
    let mut rounds = Vec::new();
    let measured = all_rounds(name, setting, listening, &mut rounds).await;
    let not_measured = measured.err().map(|error| {
        say(&format!("{}: {error}", name.word()));
        NotMeasured { why: error.to_string(), allowed: matches!(error, BenchError::NotHere(_)) }
    });
    Findings {
        name: name.word(),
        about: name.about(),
        took_s: begin.elapsed().as_secs_f64(),
        lines: findings::lines(&rounds),
        rounds,
        not_measured,
    }
}

async fn all_rounds(
    name: Name,
    setting: &Setting,
    listening: &mut Listening,
    rounds: &mut Vec<Vec<Reading>>,
) -> Result<(), BenchError> {
    let count = setting.plan.rounds;
    say(&format!("{}: starting", name.word()));
    let mut scenario = name.start(setting).await?;
    for round in 0..count {
        listening.again();
        say(&format!("{}: round {} of {count}", name.word(), round + 1));
        rounds.push(scenario.round(setting, round).await?);
    }
    Ok(())
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
