//! What a flood of one user costs another: one client's warm fetch, 200 a second in an open loop,
//! in turn while all is quiet and while another user floods the same agent, in each way of rows D1
//! to D5 of the attacks. Last while another agent is flooded, which shows what a flood does to the
//! processors where nobody holds it back.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use countersign_tests::{Agent, AgentSettings};
use serde::Serialize;

use crate::BenchError;
use crate::abuse::{BEGINS, Kind};
use crate::call::Call;
use crate::load::{self, Work, name};
use crate::machine::{self, Machine};
use crate::measurement::Measurement;
use crate::process;
use crate::run::say;
use crate::setting::{AUDIENCE, Plan, Setting};
use crate::spread::Spread;
use crate::stage::target;

/// The user who floods.
const FLOODER: u32 = 61_002;
/// How often the one client that is looked at asks in a second, on a connection that was opened
/// before: often enough for percentiles, and far from what could be called a flood.
const QUIET: f64 = 200.0;
/// As long as a program that is to be hashed again and again, in bytes. Most of it is a hole.
const HUGE: u64 = 160 << 20;

/// Rows of the table of attacks that are ways to flood.
pub(crate) const ROWS: [&str; 5] = ["D1", "D2", "D3", "D4", "D5"];

/// One way to flood.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Of the table of attacks.
    row: &'static str,
    what: &'static str,
    kind: Kind,
    lanes: u32,
    size: u32,
    pause_ms: u32,
}

const fn way(row: &'static str, what: &'static str, kind: Kind, [lanes, size, pause_ms]: [u32; 3]) -> Way {
    Way { row, what, kind, lanes, size, pause_ms }
}

/// Frames of a connection are in hundreds; blocks of headers are one each.
const WAYS: [Way; 12] = [
    way("D1", "3000 connections, silent", Kind::Silent, [1, 3000, 1000]),
    way("D1", "3000 connections, half a frame", Kind::Half, [1, 3000, 1000]),
    way("D2", "512 calls at a time", Kind::Calls, [64, 0, 0]),
    way("D2", "512 new connections at a time", Kind::Connections, [512, 0, 0]),
    way("D3", "160 MiB hashed, again and again", Kind::Hashes, [8, 0, 0]),
    way("D4", "rapid reset, 4 connections", Kind::Resets, [4, 200, 0]),
    way("D4", "CONTINUATION, 4 connections", Kind::Continuation, [4, 6000, 0]),
    way("D4", "headers that grow, 4 connections", Kind::Bomb, [4, 200, 0]),
    way("D4", "PING, 4 connections", Kind::Pings, [4, 2000, 0]),
    way("D4", "SETTINGS, 4 connections", Kind::Settings, [4, 2000, 0]),
    way("D4", "empty DATA, 4 connections", Kind::EmptyData, [4, 2000, 0]),
    way("D5", "3 streams on each of 100, never read", Kind::Unread, [1, 100, 1000]),
];

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    began: String,
    machine: Machine,
    load_average_before: f64,
    plan: Plan,
    floods: Vec<Found>,
}

/// One flood over all rounds; times in microseconds.
#[derive(Debug, Serialize)]
struct Found {
    row: &'static str,
    what: &'static str,
    quiet: Latency,
    flooded: Latency,
    /// The flooded one in parts of the quiet one, taken round by round.
    ratio: Latency,
    /// Resident memory of the flooded agent at the end of each flood, in KiB.
    resident_kib: Spread,
}

/// Two percentiles over all rounds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    p50: Spread,
    p99: Spread,
}

/// One round of one flood.
struct Round {
    quiet: Measurement,
    flooded: Measurement,
    resident_kib: u64,
}

/// Who is flooded and who floods.
struct Field {
    agent: Agent,
    /// Another one.
    other: Agent,
    program: PathBuf,
}

/// Runs the rounds of the plan, in all ways or those of `rows`.
///
/// # Errors
/// A request of the quiet user failed, or this is not root.
pub(crate) async fn measure(setting: &Setting, rows: &[String]) -> Result<Report, BenchError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BenchError::NotHere("the flood is another user's, which takes root".to_owned()));
    }
    let (began, load_average_before) = (machine::now(), machine::load_average()?);
    let field = Field::make().await?;
    let plan = &setting.plan;
    let elsewhere = way("-", "another agent, 512 calls at a time", Kind::Calls, [64, 0, 0]);
    let is_asked_for = |way: &&Way| rows.is_empty() || rows.iter().any(|row| row == way.row);
    let ways = WAYS.iter().filter(is_asked_for).map(|way| (*way, &field.agent)).chain([(elsewhere, &field.other)]);
    let mut floods = Vec::new();
    for (way, flooded) in ways {
        say(&format!("{}: {}", way.row, way.what));
        let rounds: Vec<Round> = (0..plan.rounds).map(|_| field.round(way, flooded, plan)).collect::<Result<_, _>>()?;
        floods.push(Found::of(way, &rounds).ok_or(BenchError::Nothing("the flood"))?);
    }
    Ok(Report { began, machine: Machine::this()?, load_average_before, plan: plan.clone(), floods })
}

impl Field {
    async fn make() -> Result<Self, BenchError> {
        let failed = || BenchError::system("copy this program for the flooder");
        let this = std::env::current_exe().map_err(failed())?;
        let agent = Agent::start(AgentSettings::default()).await;
        let other = Agent::start(AgentSettings::default()).await;
        let entries = entries(&this).map_err(failed())?;
        agent.apply(&entries);
        other.apply(&entries);
        let program = agent.folder().join("bench");
        copied(&this, &program).map_err(failed())?;
        Ok(Self { agent, other, program })
    }

    /// Quiet, then flooded.
    fn round(&self, way: Way, flooded: &Agent, plan: &Plan) -> Result<Round, BenchError> {
        let measured = || load::measure(&target(&self.agent), Work::open(Call::Fetch, 1, QUIET), plan);
        let quiet = measured()?;
        let mut flood =
            self.start(way, flooded, plan).map_err(BenchError::system("start the flood as another user"))?;
        let found = measured();
        let resident_kib = process::resident_kib(flooded.pid());
        // It may have ended by itself.
        let _ = flood.kill();
        let _ = flood.wait();
        Ok(Round { quiet, flooded: found?, resident_kib: resident_kib? })
    }

    fn start(&self, way: Way, flooded: &Agent, plan: &Plan) -> io::Result<Child> {
        // Ended before, unless the measurement takes far longer than it should.
        let lasts = 10 * (plan.warm_up_ms + plan.measured_ms);
        let mut command = Command::new(&self.program);
        command.arg("abuse").arg("--socket").arg(flooded.workload_socket()).args(["--kind", &name(way.kind)]);
        command.args(["--lanes", &way.lanes.to_string(), "--size", &way.size.to_string()]);
        command.args(["--pause", &way.pause_ms.to_string(), "--lasts", &lasts.to_string()]);
        command.uid(FLOODER).gid(FLOODER).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut flood = command.spawn()?;
        let mut line = String::new();
        if let Some(output) = flood.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        if line.trim() == BEGINS { Ok(flood) } else { Err(io::Error::other("it does not begin")) }
    }
}

/// Entries of both users. The quiet one's turns on the digest of its program, so that whoever holds
/// up hashing holds it up; another one makes the flooder's be asked for too.
fn entries(this: &Path) -> io::Result<String> {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let own = hexadecimal(digest(&SHA256, &std::fs::read(this)?).as_ref());
    let entry = |id: &str, uid: u32, more: &str| {
        format!(
            "---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: [\"unix:uid:{uid}\"{more}]\n\
             allow: [writable_executable]\njwt: {{audiences: [{AUDIENCE}]}}\n"
        )
    };
    let sha256 = |digest: &str| format!(", \"unix:sha256:{digest}\"");
    Ok(entry("quiet", nix::unistd::geteuid().as_raw(), &sha256(&own))
        + &entry("flooder", FLOODER, "")
        + &entry("flooder-hashed", FLOODER, &sha256(&hexadecimal(&[0; 32]))))
}

/// A copy that the flooder owns, and may run: where this one is may be closed to it.
fn copied(this: &Path, copy: &Path) -> io::Result<()> {
    std::fs::copy(this, copy)?;
    std::fs::OpenOptions::new().write(true).open(copy)?.set_len(HUGE)?;
    std::fs::set_permissions(copy, std::fs::Permissions::from_mode(0o755))?;
    chown(copy, Some(FLOODER), Some(FLOODER))
}

impl Found {
    fn of(way: Way, rounds: &[Round]) -> Option<Self> {
        let latency = |p50: fn(&Round) -> f64, p99: fn(&Round) -> f64| {
            Some(Latency { p50: Spread::of(rounds.iter().map(p50))?, p99: Spread::of(rounds.iter().map(p99))? })
        };
        Some(Self {
            row: way.row,
            what: way.what,
            quiet: latency(|round| round.quiet.p50_us, |round| round.quiet.p99_us)?,
            flooded: latency(|round| round.flooded.p50_us, |round| round.flooded.p99_us)?,
            ratio: latency(
                |round| round.flooded.p50_us / round.quiet.p50_us,
                |round| round.flooded.p99_us / round.quiet.p99_us,
            )?,
            resident_kib: Spread::of(rounds.iter().map(|round| round.resident_kib as f64))?,
        })
    }
}

/// The figures for people.
pub(crate) fn table(report: &Report) -> io::Result<String> {
    let cell = |Spread { median, min, max }: Spread, digits: usize| {
        format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
    };
    let mut writer = tabwriter::TabWriter::new(Vec::new()).padding(2);
    writeln!(writer, "ROW\tFLOOD\tP50 US QUIET\tFLOODED\tRATIO\tP99 US QUIET\tFLOODED\tRATIO\tAGENT MIB")?;
    for Found { row, what, quiet, flooded, ratio, resident_kib } in &report.floods {
        let [p50, p99] = [|latency: &Latency| latency.p50, |latency: &Latency| latency.p99]
            .map(|of| format!("{}\t{}\t{}", cell(of(quiet), 0), cell(of(flooded), 0), cell(of(ratio), 2)));
        writeln!(writer, "{row}\t{what}\t{p50}\t{p99}\t{:.0}", resident_kib.max / 1024.0)?;
    }
    let columns = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    let columns = String::from_utf8_lossy(&columns);
    let Machine { kernel, processor, cores, .. } = &report.machine;
    let head = format!(
        "{}, kernel {kernel}, {cores} x {processor}, load average {:.2} before; {} rounds; median (min-max)\n\n",
        report.began, report.load_average_before, report.plan.rounds
    );
    Ok(head + &columns.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_table_of_attacks_is_a_flood() {
        for row in ROWS {
            assert!(WAYS.iter().any(|way| way.row == row), "{row}");
        }
    }

    #[test]
    fn the_entries_are_entries() {
        let text = entries(&std::env::current_exe().unwrap()).unwrap();
        let domain = "example.org".parse().ok();
        assert_eq!(countersign_common::entry::parse_entries("entries", &text, domain.as_ref()).unwrap().len(), 3);
    }
}
