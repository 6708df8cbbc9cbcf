//! What a flood of one user costs another: one client's warm fetch, in turn while all is quiet,
//! while this agent is flooded in one way and another, and while another agent is, which shows
//! what the flood does to the processors where nobody holds it back.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use countersign_tests::{Agent, AgentSettings};
use serde::Serialize;

use crate::BenchError;
use crate::call::{AUDIENCE, Call, Client};
use crate::load::Connection;
use crate::measurement::Measurement;
use crate::report::Scenario;
use crate::rounds::{Plan, load, name, say};
use crate::spread::Spread;

/// The user who floods.
const FLOODER: u32 = 61_002;
/// Calls of the flood at a time: more than its user may have in flight, so that it is refused too.
const CALLS: u32 = 512;
/// How many of them share a connection, if they do.
const CALLS_OF_CONNECTION: u32 = 8;
/// One client, on a connection that was opened before, which asks 200 times a second: often
/// enough for percentiles, and far from what could be called a flood.
const QUIET: Scenario = Scenario { clients: 1, connection: Connection::Warm, every_us: Some(5000) };

/// What the flooding process is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Flood {
    /// Where the agent listens.
    #[arg(long)]
    socket: PathBuf,
    #[arg(long, value_enum)]
    kind: Kind,
    /// For how long, in milliseconds.
    #[arg(long)]
    lasts: u64,
}

/// What the flood consists of.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Calls on connections that stay.
    Calls,
    /// A new connection for each call.
    Connections,
}

/// Latencies of the other user, in microseconds, over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    quiet: Latency,
    /// This agent is flooded with calls.
    calls: Latency,
    /// That in parts of quiet, taken round by round.
    calls_of_quiet: Latency,
    /// This agent is flooded with connections.
    connections: Latency,
    /// That in parts of quiet, taken round by round.
    connections_of_quiet: Latency,
    /// Another agent is flooded with calls. Nobody else calls that one, so it does not hold back.
    elsewhere: Latency,
}

/// Two percentiles over all rounds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    p50: Spread,
    p99: Spread,
}

/// One round.
struct Round {
    quiet: Measurement,
    calls: Measurement,
    connections: Measurement,
    elsewhere: Measurement,
}

impl Flood {
    /// Calls until the time is up, whatever it is told.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        let end = Instant::now() + Duration::from_millis(self.lasts);
        let tasks: Vec<_> = match self.kind {
            Kind::Calls => (0..CALLS / CALLS_OF_CONNECTION)
                .map(|_| tokio::spawn(connection(self.socket.clone(), CALLS_OF_CONNECTION, end)))
                .collect(),
            Kind::Connections => (0..CALLS).map(|_| tokio::spawn(connections(self.socket.clone(), end))).collect(),
        };
        for task in tasks {
            // One that panicked floods no more.
            let _ = task.await;
        }
        Ok(String::new())
    }
}

/// Calls as often as it is answered, whatever the answer; on a new connection if it was ended.
async fn connection(socket: PathBuf, at_a_time: u32, end: Instant) {
    while Instant::now() < end {
        let Ok(client) = Client::connect(&socket, Call::Fetch, None).await else { continue };
        let calls = (0..at_a_time).map(|_| tokio::spawn(calls(client.clone(), end)));
        for call in calls.collect::<Vec<_>>() {
            let _ = call.await;
        }
    }
}

/// Calls on a new connection each time, whatever the answer.
async fn connections(socket: PathBuf, end: Instant) {
    while Instant::now() < end {
        let Ok(mut client) = Client::connect(&socket, Call::Fetch, None).await else { continue };
        let _ = client.call().await;
    }
}

async fn calls(mut client: Client, end: Instant) {
    while Instant::now() < end {
        match client.call().await {
            Err(BenchError::Request(status)) if status.source().is_some() => return,
            _ => {}
        }
    }
}

/// Runs the rounds of the plan against a new agent.
///
/// # Errors
/// A request of the quiet user failed, or this is not root.
pub(crate) async fn measure(plan: &Plan) -> Result<Report, BenchError> {
    let entry = |id: &str, uid: u32| {
        format!(
            "---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: [\"unix:uid:{uid}\"]\n\
             jwt: {{audiences: [{AUDIENCE}]}}\n"
        )
    };
    let entries = entry("quiet", nix::unistd::geteuid().as_raw()) + &entry("flooder", FLOODER);
    let (agent, other) = (Agent::start(AgentSettings::default()).await, Agent::start(AgentSettings::default()).await);
    agent.apply(&entries);
    other.apply(&entries);
    let program = readable_copy(agent.folder()).map_err(BenchError::system("copy this program for the flooder"))?;
    let under_flood_of = |target: &Agent, kind| {
        let mut flood =
            start(&program, target, kind, plan).map_err(BenchError::system("start the flood as another user"))?;
        let measured = load(&agent, Call::Fetch, QUIET, plan);
        // It may have ended by itself.
        let _ = flood.kill();
        let _ = flood.wait();
        measured
    };
    let mut rounds = Vec::new();
    for round in 0..plan.rounds {
        say(&format!("round {} of {}", round + 1, plan.rounds));
        let quiet = load(&agent, Call::Fetch, QUIET, plan)?;
        rounds.push(Round {
            quiet,
            calls: under_flood_of(&agent, Kind::Calls)?,
            connections: under_flood_of(&agent, Kind::Connections)?,
            elsewhere: under_flood_of(&other, Kind::Calls)?,
        });
    }
    Report::of(&rounds).ok_or(BenchError::Nothing("the flood"))
}

/// A copy that the flooder may run: where this one is may be closed to it.
fn readable_copy(folder: &Path) -> std::io::Result<PathBuf> {
    let copy = folder.join("bench");
    std::fs::copy(std::env::current_exe()?, &copy)?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
    Ok(copy)
}

fn start(program: &Path, agent: &Agent, kind: Kind, plan: &Plan) -> std::io::Result<Child> {
    // Ended before, unless the measurement takes far longer than it should.
    let lasts = 10 * (plan.warm_up_ms + plan.measured_ms);
    let mut command = Command::new(program);
    command.arg("flood").arg("--socket").arg(agent.workload_socket());
    command.args(["--kind", &name(kind), "--lasts", &lasts.to_string()]);
    command.uid(FLOODER).gid(FLOODER).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
}

impl Report {
    fn of(rounds: &[Round]) -> Option<Self> {
        let latency = |of: fn(&Round) -> Measurement| {
            let p50 = Spread::of(rounds.iter().map(|round| of(round).p50_us))?;
            Some(Latency { p50, p99: Spread::of(rounds.iter().map(|round| of(round).p99_us))? })
        };
        Some(Self {
            quiet: latency(|round| round.quiet)?,
            calls: latency(|round| round.calls)?,
            calls_of_quiet: latency(|round| round.calls.relative_to(&round.quiet))?,
            connections: latency(|round| round.connections)?,
            connections_of_quiet: latency(|round| round.connections.relative_to(&round.quiet))?,
            elsewhere: latency(|round| round.elsewhere)?,
        })
    }
}

/// The figures for people.
pub(crate) fn table(report: &Report) -> String {
    let cell = |Spread { median, min, max }: Spread, digits: usize| {
        format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
    };
    let line = |name: &str, Latency { p50, p99 }: Latency, digits: usize| {
        format!("{name:<34}{:<22}{}", cell(p50, digits), cell(p99, digits))
    };
    let lines = [
        format!("{:<34}{:<22}{}", "", "P50 US", "P99 US"),
        line("quiet", report.quiet, 0),
        line("flooded with calls", report.calls, 0),
        line("  ratio to quiet", report.calls_of_quiet, 2),
        line("flooded with connections", report.connections, 0),
        line("  ratio to quiet", report.connections_of_quiet, 2),
        line("another agent flooded with calls", report.elsewhere, 0),
    ];
    lines.join("\n")
}
