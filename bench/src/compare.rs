//! Two runs side by side: what the first found, and whether the second found the same.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::BenchError;
use crate::figure;
use crate::findings::Line;
use crate::machine::Machine;
use crate::reading::Aim;
use crate::spread::Spread;

/// Puts two runs side by side, as a table in Markdown: figures of the first, and the second's middle where it
/// lies within the first's smallest and largest; where it does not, how far the second's lie apart.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Compare {
    /// The figures.json of a run.
    first: PathBuf,
    /// That of another one, of the same scenarios.
    second: PathBuf,
}

const EXAMPLE: &str = "\
Example:
  cargo run --release -p bench -- all --out target/first
  cargo run --release -p bench -- all --out target/second
  cargo run --release -p bench -- compare target/first/figures.json target/second/figures.json";

/// What is compared of a run.
#[derive(Debug, Deserialize)]
struct Run {
    began: String,
    machine: Machine,
    plan: Rounds,
    scenarios: Vec<Scenario>,
}

#[derive(Debug, Deserialize)]
struct Rounds {
    rounds: u32,
}

#[derive(Debug, Deserialize)]
struct Scenario {
    name: String,
    lines: Vec<Line>,
}

/// What the second run says of a figure of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Its middle lies within the first's smallest and largest.
    Within,
    /// Its middle does not, but some of its rounds do.
    Overlapping,
    /// None of its rounds does.
    Apart,
}

impl Compare {
    /// The table.
    ///
    /// # Errors
    /// One of the files is none that a run has written.
    pub(crate) fn run(&self) -> Result<String, BenchError> {
        Ok(compared(&read(&self.first)?, &read(&self.second)?))
    }
}

fn read(path: &Path) -> Result<Run, BenchError> {
    let not_read = |why: String| BenchError::Figures { path: path.to_owned(), why };
    let text = fs::read(path).map_err(|error| not_read(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| not_read(error.to_string()))
}

fn compared(first: &Run, second: &Run) -> String {
    let mut rows = Vec::new();
    let mut verdicts = Vec::new();
    for scenario in &first.scenarios {
        let again = second.scenarios.iter().find(|again| again.name == scenario.name);
        for line in &scenario.lines {
            let again = again.and_then(|again| again.lines.iter().find(|again| again.name == line.name));
            let found = again.map(|again| (again, verdict(line, again)));
            verdicts.extend(found.map(|(_, verdict)| verdict));
            rows.push(row(&scenario.name, line, found));
        }
    }
    let count = |of: Verdict| verdicts.iter().filter(|verdict| **verdict == of).count();
    let aims = |met: bool| {
        first.scenarios.iter().flat_map(|scenario| &scenario.lines).filter(move |line| line.met == Some(met))
    };
    format!(
        "{}\nagain: {}\n\n{HEAD}\n{}\n\n{} of {} aims met. Of {} figures the second run's middle lies within the \
         first's rounds for {}, of {} more some of its rounds do, of {} none.",
        of_run(first),
        of_run(second),
        rows.join("\n"),
        aims(true).count(),
        aims(true).count() + aims(false).count(),
        verdicts.len(),
        count(Verdict::Within),
        count(Verdict::Overlapping),
        count(Verdict::Apart),
    )
}

const HEAD: &str = "\
| scenario | figure | ours | floor | beside it | again | aim |
|---|---|---|---|---|---|---|";

fn of_run(Run { began, machine: Machine { kernel, processor, cores }, plan, .. }: &Run) -> String {
    format!("{began}, kernel {kernel}, {cores} x {processor}, {} rounds", plan.rounds)
}

fn row(scenario: &str, line: &Line, again: Option<(&Line, Verdict)>) -> String {
    let Line { name, unit, ours, floor, aim, met, .. } = line;
    let again = again.map(|(again, verdict)| in_words(again, verdict)).unwrap_or_default();
    let aim = aim.map(|aim| format!("{} {}", figure::aim(aim, unit), figure::met(*met))).unwrap_or_default();
    format!(
        "| {scenario} | {name}, {unit} | {} | {} | {} | {again} | {aim} |",
        figure::spread(*ours),
        floor.map(figure::spread).unwrap_or_default(),
        figure::beside(line).unwrap_or_default(),
    )
}

fn in_words(again: &Line, verdict: Verdict) -> String {
    let spread = compared_by(again);
    let is_ratio = again.ratio.is_some_and(|ratio| ratio == spread);
    let words = if is_ratio { figure::ratio } else { figure::spread };
    match verdict {
        Verdict::Within => words(Spread { min: spread.median, max: spread.median, ..spread }),
        Verdict::Overlapping => words(spread),
        Verdict::Apart => format!("{} apart", words(spread)),
    }
}

/// What two runs are compared by: what the aim looks at; without one, what the machine has the least part in.
fn compared_by(line: &Line) -> Spread {
    let of_aim = match line.aim {
        Some(Aim::AboveAtMost(_)) => line.above,
        Some(Aim::AtMost(_)) => Some(line.ours),
        Some(Aim::RatioAtLeast(_) | Aim::RatioAtMost(_)) | None => line.ratio,
    };
    of_aim.unwrap_or(line.ours)
}

fn verdict(first: &Line, second: &Line) -> Verdict {
    let [first, second] = [first, second].map(|line| in_three_digits(compared_by(line)));
    if first.has(second.median) {
        Verdict::Within
    } else if first.meets(second) {
        Verdict::Overlapping
    } else {
        Verdict::Apart
    }
}

/// As it is told: what differs behind that is the same.
fn in_three_digits(Spread { median, min, max }: Spread) -> Spread {
    let rounded = |value: f64| {
        if value == 0.0 {
            0.0
        } else {
            let unit = 10_f64.powf(value.abs().log10().floor() - 2.0);
            (value / unit).round() * unit
        }
    };
    Spread { median: rounded(median), min: rounded(min), max: rounded(max) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::lines;
    use crate::reading::Reading;

    fn run(rounds: &[[f64; 3]]) -> Run {
        let aims = [Aim::RatioAtMost(3.0), Aim::AboveAtMost(1.0), Aim::AtMost(9.0)];
        let reading = |at: usize, ours: f64| Reading::beside(["a", "b", "c"][at], "us", ours, 2.0).aiming(aims[at]);
        let rounds: Vec<Vec<Reading>> =
            rounds.iter().map(|ours| ours.iter().enumerate().map(|(at, ours)| reading(at, *ours)).collect()).collect();
        let machine = Machine { kernel: "6.1".to_owned(), processor: "one".to_owned(), cores: 2 };
        Run {
            began: "2026-01-01T00:00:00Z".to_owned(),
            machine,
            plan: Rounds { rounds: 3 },
            scenarios: vec![Scenario { name: "it".to_owned(), lines: lines(&rounds) }],
        }
    }

    #[test]
    fn a_second_run_is_held_against_the_rounds_of_the_first() {
        let first = run(&[[4.0, 4.0, 4.0], [6.0, 6.0, 6.0], [8.0, 8.0, 8.0]]);
        let second = run(&[[5.0, 9.0, 20.0], [6.0, 9.0, 20.0], [9.0, 7.0, 30.0]]);
        let told = compared(&first, &second);
        assert!(
            told.contains("| it | a, us | 6.00 (4.00-8.00) | 2.00 | 3.00 (2.00-4.00) | 3.00 | <= 3.00 met |"),
            "{told}"
        );
        assert!(told.contains("| 4.00 (2.00-6.00) above | 7.00 (5.00-7.00) | <= 1.00 us above NOT MET |"), "{told}");
        assert!(told.contains("| 20.0 (20.0-30.0) apart | <= 9.00 us met |"), "{told}");
        assert!(told.contains("2 of 3 aims met. Of 3 figures the second run's middle lies within the first's rounds for 1, of 1 more some of its rounds do, of 1 none."), "{told}");
    }

    #[test]
    fn what_three_digits_do_not_tell_apart_is_the_same() {
        let first = run(&[[4.0, 4.0, 1234.5], [4.0, 4.0, 1234.6]]);
        let second = run(&[[4.0, 4.0, 1233.9]]);
        let told = compared(&first, &second);
        assert!(told.contains("within the first's rounds for 3"), "{told}");
        let second = run(&[[4.0, 4.0, 1245.0]]);
        assert!(compared(&first, &second).contains("| 1245 apart |"));
    }

    #[test]
    fn what_the_second_run_lacks_is_left_empty() {
        let first = run(&[[4.0, 4.0, 4.0]]);
        let told = compared(&first, &Run { scenarios: Vec::new(), ..run(&[[1.0, 1.0, 1.0]]) });
        assert!(told.contains("| it | c, us | 4.00 | 2.00 | 2.00 |  | <= 9.00 us met |"), "{told}");
        assert!(told.contains("Of 0 figures"), "{told}");
    }

    #[test]
    fn what_is_no_run_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{}").unwrap();
        let said = read(file.path()).unwrap_err().to_string();
        assert!(said.contains(&file.path().display().to_string()), "{said}");
        assert!(read(Path::new("/nonexistent/figures.json")).is_err());
    }
}
