//! The figures for people.

use std::io::{self, Write};

use crate::load::Connection;
use crate::report::{Figures, Findings, Report};
use crate::spread::Spread;

/// The run in a few lines, and its figures in columns.
pub(crate) fn of(report: &Report) -> io::Result<String> {
    let machine = &report.machine;
    let seconds = |milliseconds: u64| milliseconds as f64 / 1000.0;
    let mut text = format!(
        "{}, kernel {}, {} x {}, load average {:.2} before and {:.2} after\n\
         entry: {}; {} rounds of {} s after {} s of warm-up, in turn, closed loop\n\
         floor: grpc.health.v1.Health/Check; fetch: FetchJWTSVID, token issued before; median (min-max)\n\
         unproven: the fetch from an agent that does not have the caller prove itself; proof: fetch in parts of it\n\n",
        report.began,
        machine.kernel,
        machine.cores,
        machine.processor,
        report.load_average_before,
        report.load_average_after,
        report.selectors.join(" "),
        report.plan.rounds,
        seconds(report.plan.measured_ms),
        seconds(report.plan.warm_up_ms),
    );
    let mut writer = tabwriter::TabWriter::new(Vec::new()).padding(2);
    writeln!(writer, "CLIENTS\tCONNECTION\tCALL\tCALLS/S\tP50 US\tP99 US\tAGENT CPU US/CALL")?;
    for findings in &report.scenarios {
        rows(&mut writer, findings)?;
    }
    let columns = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    let columns = String::from_utf8_lossy(&columns);
    text.push_str(&columns.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
    Ok(text)
}

fn rows(writer: &mut impl Write, findings: &Findings) -> io::Result<()> {
    let connection = match findings.scenario.connection {
        Connection::Warm => "warm",
        Connection::New => "new",
    };
    let clients = findings.scenario.clients;
    row(writer, &format!("{clients}\t{connection}\tfloor"), &findings.floor, (0, 1))?;
    row(writer, "\t\tfetch", &findings.fetch, (0, 1))?;
    row(writer, "\t\tratio", &findings.ratio, (2, 2))?;
    row(writer, "\t\tunproven", &findings.unproven, (0, 1))?;
    row(writer, "\t\tproof", &findings.proof, (2, 2))
}

/// `digits` behind the point, of the rate and of the others.
fn row(writer: &mut impl Write, what: &str, figures: &Figures, digits: (usize, usize)) -> io::Result<()> {
    let Figures { rate, p50_us, p99_us, agent_cpu_us } = *figures;
    let [p50, p99, agent_cpu] = [p50_us, p99_us, agent_cpu_us].map(|figure| cell(figure, digits.1));
    writeln!(writer, "{what}\t{}\t{p50}\t{p99}\t{agent_cpu}", cell(rate, digits.0))
}

fn cell(Spread { median, min, max }: Spread, digits: usize) -> String {
    format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
}
