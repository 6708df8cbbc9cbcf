//! What a flood of one user costs another: one client's warm fetch, quiet and flooded, in turn.

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
    quiet_p50_us: Spread,
    quiet_p99_us: Spread,
    flooded_p50_us: Spread,
    flooded_p99_us: Spread,
    /// Flooded in parts of quiet, taken round by round.
    ratio_p50: Spread,
    ratio_p99: Spread,
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
    let agent = Agent::start(AgentSettings::default()).await;
    let entry = |id: &str, uid: u32| {
        format!(
            "---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: [\"unix:uid:{uid}\"]\n\
             jwt: {{audiences: [{AUDIENCE}]}}\n"
        )
    };
    agent.apply(&(entry("quiet", nix::unistd::geteuid().as_raw()) + &entry("flooder", FLOODER)));
    let program = readable_copy(agent.folder()).map_err(BenchError::system("copy this program for the flooder"))?;
    let mut rounds = Vec::new();
    for round in 0..plan.rounds {
        say(&format!("round {} of {}", round + 1, plan.rounds));
        let quiet = load(&agent, Call::Fetch, QUIET, plan)?;
        let mut flood = start(&program, &agent, plan).map_err(BenchError::system("start the flood as another user"))?;
        let flooded = load(&agent, Call::Fetch, QUIET, plan);
        // It may have ended by itself.
        let _ = flood.kill();
        let _ = flood.wait();
        rounds.push((quiet, flooded?));
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
    fn of(rounds: &[(Measurement, Measurement)]) -> Option<Self> {
        let spread = |figure: fn(&(Measurement, Measurement)) -> f64| Spread::of(rounds.iter().map(figure));
        Some(Self {
            quiet_p50_us: spread(|(quiet, _)| quiet.p50_us)?,
            quiet_p99_us: spread(|(quiet, _)| quiet.p99_us)?,
            flooded_p50_us: spread(|(_, flooded)| flooded.p50_us)?,
            flooded_p99_us: spread(|(_, flooded)| flooded.p99_us)?,
            ratio_p50: spread(|(quiet, flooded)| flooded.p50_us / quiet.p50_us)?,
            ratio_p99: spread(|(quiet, flooded)| flooded.p99_us / quiet.p99_us)?,
        })
    }
}

/// The figures for people.
pub(crate) fn table(report: &Report) -> String {
    let line = |name: &str, Spread { median, min, max }: Spread, digits: usize| {
        format!("{name:<15}{median:.digits$} ({min:.digits$}-{max:.digits$})")
    };
    let lines = [
        line("quiet p50 us", report.quiet_p50_us, 0),
        line("quiet p99 us", report.quiet_p99_us, 0),
        line("flooded p50 us", report.flooded_p50_us, 0),
        line("flooded p99 us", report.flooded_p99_us, 0),
        line("ratio p50", report.ratio_p50, 2),
        line("ratio p99", report.ratio_p99, 2),
    ];
    lines.join("\n")
}
