//! The figures for people.

use std::io::{self, Write};

use crate::figure;
use crate::findings::Line;
use crate::noise::Work;
use crate::report::{Findings, Report};

/// The run in a few lines, and its figures in columns.
///
/// # Errors
/// The columns cannot be laid out.
pub(crate) fn of(report: &Report) -> io::Result<String> {
    let mut text = head(report);
    for findings in &report.scenarios {
        text.push_str(&format!("\n\n{}: {}\n", findings.name, findings.about.question));
        text.push_str(&format!("  floor: {}\n  aim: {}\n", findings.about.floor, findings.about.aim));
        if let Some(not) = &findings.not_measured {
            text.push_str(&format!("  NOT MEASURED: {}\n", not.why));
        }
        text.push_str(&columns(findings)?);
    }
    Ok(text)
}

fn head(report: &Report) -> String {
    let (machine, plan) = (&report.machine, &report.setting.plan);
    let seconds = |milliseconds: u64| milliseconds as f64 / 1000.0;
    let work =
        |work: Work| format!("p99 {:.2}, longest {:.2} times the median", work.p99_of_median, work.max_of_median);
    let during = report.noise.during.map_or_else(|| "not measured".to_owned(), work);
    format!(
        "{}, kernel {}, {} x {}, load average {:.2} before and {:.2} after\n\
         noise: the same work over and over, before: {}; between rounds: {during}; stolen by the host: {:.1} %\n\
         {}{} rounds; under load {} s after {} s of warm-up; median (min-max) of the rounds, ratio to the floor by round",
        report.began,
        machine.kernel,
        machine.cores,
        machine.processor,
        report.load_average_before,
        report.load_average_after,
        work(report.noise.before),
        report.noise.steal * 100.0,
        if plan.quick { "QUICK, shows only that it works: " } else { "" },
        plan.rounds,
        seconds(plan.measured_ms),
        seconds(plan.warm_up_ms),
    )
}

fn columns(findings: &Findings) -> io::Result<String> {
    let theirs = findings.lines.iter().any(|line| line.theirs.is_some() || line.refused.is_some());
    let mut writer = tabwriter::TabWriter::new(Vec::new()).padding(2);
    write!(writer, "  MEASURE\tUNIT\tOURS\tFLOOR\tRATIO\t")?;
    if theirs {
        write!(writer, "THEIRS\tRATIO\t")?;
    }
    writeln!(writer, "AIM\t")?;
    for line in &findings.lines {
        row(&mut writer, line, theirs)?;
    }
    let columns = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    let columns = String::from_utf8_lossy(&columns);
    let mut text = columns.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    // Most often it is one and the same for all.
    let mut refusals: Vec<&str> = findings.lines.iter().filter_map(|line| line.refused.as_deref()).collect();
    refusals.dedup();
    for refusal in refusals {
        text.push_str(&format!("\n  theirs: {refusal}"));
    }
    Ok(text)
}

fn row(writer: &mut impl Write, line: &Line, theirs: bool) -> io::Result<()> {
    let floor = line.floor.map(figure::spread).unwrap_or_default();
    let ratio = figure::beside(line).unwrap_or_default();
    write!(writer, "  {}\t{}\t{}\t{floor}\t{ratio}\t", line.name, line.unit, figure::spread(line.ours))?;
    if theirs {
        let refused = if line.refused.is_some() { "refused" } else { "" };
        let found = line.theirs.map_or_else(|| refused.to_owned(), figure::spread);
        write!(writer, "{found}\t{}\t", line.theirs_ratio.map(figure::ratio).unwrap_or_default())?;
    }
    let aim = line.aim.map(|aim| figure::aim(aim, &line.unit)).unwrap_or_default();
    writeln!(writer, "{aim} {}\t", figure::met(line.met))
}
