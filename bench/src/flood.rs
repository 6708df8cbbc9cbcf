//! What a flood of one user costs another: one client's warm fetch, in turn while all is quiet,
//! while another agent is flooded, and while this one is. A flood of another agent takes the
//! same share of the processors, which is the kernel's to give; what this agent adds to that, the
//! last two tell.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use countersign_tests::{Agent, AgentSettings};
use serde::Serialize;

use crate::BenchError;
use crate::call::{AUDIENCE, Call, Client};
use crate::load::Connection;
use crate::measurement::Measurement;
use crate::report::Scenario;
use crate::rounds::{Plan, load, say};
use crate::spread::Spread;

/// The user who floods.
const FLOODER: u32 = 61_002;
/// Connections of the flood, each with [`CALLS`] calls at a time: more than its user may have in
/// flight, so that it is refused too.
const CONNECTIONS: u32 = 64;
const CALLS: u32 = 8;
/// One client, on a connection that was opened before.
const QUIET: Scenario = Scenario { clients: 1, connection: Connection::Warm };

/// What the flooding process is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Flood {
    /// Where the agent listens.
    #[arg(long)]
    socket: PathBuf,
    /// For how long, in milliseconds.
    #[arg(long)]
    lasts: u64,
}

/// Latencies of the other user, in microseconds, over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    quiet: Latency,
    /// Another agent is flooded.
    elsewhere: Latency,
    flooded: Latency,
    /// Flooded in parts of quiet, taken round by round.
    of_quiet: Latency,
    /// Flooded in parts of elsewhere, taken round by round.
    of_elsewhere: Latency,
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
    elsewhere: Measurement,
    flooded: Measurement,
}

impl Flood {
    /// Calls until the time is up, whatever it is told.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        let end = Instant::now() + Duration::from_millis(self.lasts);
        let calls = (0..CONNECTIONS * CALLS).map(|_| tokio::spawn(calls(self.socket.clone(), end)));
        for call in calls.collect::<Vec<_>>() {
            // One that panicked floods no more.
            let _ = call.await;
        }
        Ok(String::new())
    }
}

async fn calls(socket: PathBuf, end: Instant) {
    while Instant::now() < end {
        let Ok(mut client) = Client::connect(&socket, Call::Fetch, None).await else { continue };
        while Instant::now() < end && client.call().await.is_ok() {}
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
    let under_flood_of = |target: &Agent| {
        let mut flood = start(&program, target, plan).map_err(BenchError::system("start the flood as another user"))?;
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
        rounds.push(Round { quiet, elsewhere: under_flood_of(&other)?, flooded: under_flood_of(&agent)? });
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

fn start(program: &Path, agent: &Agent, plan: &Plan) -> std::io::Result<Child> {
    // Ended before, unless the measurement takes far longer than it should.
    let lasts = 10 * (plan.warm_up_ms + plan.measured_ms);
    let mut command = Command::new(program);
    command.arg("flood").arg("--socket").arg(agent.workload_socket()).args(["--lasts", &lasts.to_string()]);
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
            elsewhere: latency(|round| round.elsewhere)?,
            flooded: latency(|round| round.flooded)?,
            of_quiet: latency(|round| round.flooded.relative_to(&round.quiet))?,
            of_elsewhere: latency(|round| round.flooded.relative_to(&round.elsewhere))?,
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
        line("another agent flooded", report.elsewhere, 0),
        line("this agent flooded", report.flooded, 0),
        line("ratio to quiet", report.of_quiet, 2),
        line("ratio to another agent flooded", report.of_elsewhere, 2),
    ];
    lines.join("\n")
}
