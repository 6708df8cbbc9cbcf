//! The long run: processes, entries, authorities, faults and the agent itself come and go, while one
//! client asks all the time. What was entitled and refused, or issued and not entitled, fails the run,
//! and so does an agent that is not as small at its end as it was in its course.

mod bed;
mod chart;
mod checker;
mod churn;
mod disturbance;
mod flatness;
mod life;
mod report;
mod samples;
mod tally;
mod visit;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use countersign_tests::{Agent, AgentSettings};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::BenchError;
use crate::run::say;
use bed::Bed;
use report::Report;
use samples::Samples;
pub(crate) use visit::Visit;

/// The agent lives no longer than this in one go.
const LONGEST_LIFE: Duration = Duration::from_secs(600);
/// How many lives there are at least.
const LIVES: u32 = 6;

/// Runs an agent for a long time under churn and faults, and says whether it stays as it was.
#[derive(Clone, Debug, Args)]
pub(crate) struct Soak {
    /// How long.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    minutes: u32,
    /// Half a minute instead: shows that it works.
    #[arg(long)]
    quick: bool,
    /// Where soak.json and soak.svg go.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

impl Soak {
    /// Runs, writes the figures, and gives back what to print; the error is the same text if the run
    /// has failed.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        std::fs::create_dir_all(&self.out).map_err(BenchError::system("make the folder for the figures"))?;
        let length =
            if self.quick { Duration::from_secs(30) } else { Duration::from_secs(60 * u64::from(self.minutes)) };
        let report = soak(length).await?;
        let json = serde_json::to_string_pretty(&report)?;
        let write = |name: &str, text: &str| {
            std::fs::write(self.out.join(name), text).map_err(BenchError::system("write the figures"))
        };
        write("soak.json", &json)?;
        write("soak.svg", &chart::of(&report))?;
        let text = report.summary();
        if report.has_passed() { Ok(text) } else { Err(BenchError::Soak(text)) }
    }
}

/// Keys and SVIDs live so briefly that all of them are replaced many times.
fn settings() -> AgentSettings {
    AgentSettings {
        hold: "1s",
        authority: "refresh_hint = \"30s\"",
        jwt: "default_ttl = \"30s\"\nmax_ttl = \"1m\"",
        x509: "default_ttl = \"30s\"\nmax_ttl = \"1m\"",
        ..AgentSettings::default()
    }
}

async fn soak(length: Duration) -> Result<Report, BenchError> {
    let mut agent = Agent::start(settings()).await;
    let bed = Arc::new(Bed::make(&agent)?);
    bed.apply_lasting_entries().await?;
    let began = Instant::now();
    let mut samples = Samples::begin(length);
    let mut tasks = JoinSet::new();
    tasks.spawn(checker::ask_all_the_time(Arc::clone(&bed)));
    tasks.spawn(checker::hold_a_stream(Arc::clone(&bed)));
    tasks.spawn(checker::stranger(Arc::clone(&bed)));
    for slot in 0..bed::SLOTS {
        tasks.spawn(churn::of_slot(Arc::clone(&bed), slot));
    }
    tasks.spawn(churn::of_authorities(Arc::clone(&bed)));
    tasks.spawn(disturbance::by_clients(Arc::clone(&bed)));

    let life = (length / LIVES).min(LONGEST_LIFE);
    let (mut next_end, mut by_kill) = (began + life, true);
    let mut ticks = tokio::time::interval(samples.every());
    let stopped = interrupted()?;
    tokio::pin!(stopped);
    let mut is_interrupted = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => if let Err(error) = samples.take(&agent, &bed, began.elapsed()).await {
                bed.tally.error(format!("the agent is not there: {error}"));
                break;
            },
            // Not right before the end, where there would be nothing to see of it.
            () = sleep_until(next_end.into()), if next_end + life / 2 < began + length => {
                say(&format!("{:.0} minutes: {}", began.elapsed().as_secs_f64() / 60.0, bed.tally.line()));
                let mark = restart(&mut agent, &bed, by_kill, began).await;
                samples.mark(mark);
                (next_end, by_kill) = (next_end + life, !by_kill);
            }
            () = sleep_until((began + length).into()) => break,
            () = &mut stopped => {
                is_interrupted = true;
                break;
            }
        }
    }
    // Whoever is in the middle of something is not asked how it went: the children go with their tasks.
    tasks.shutdown().await;
    let audit_files = bed.audit_files();
    Report::of(&bed.tally, samples, audit_files, (began.elapsed(), is_interrupted))
}

/// Ends the agent while all goes on, and starts it again; when that was, and how.
async fn restart(agent: &mut Agent, bed: &Bed, by_kill: bool, began: Instant) -> samples::Mark {
    let at = began.elapsed();
    bed.life.ends();
    if !by_kill {
        let ended = agent.terminate().await;
        if !ended.success() {
            bed.tally.error(format!("the agent ended with {ended} when it was asked to stop"));
        }
    }
    agent.restart().await;
    bed.life.begins();
    bed.tally.restarts.add(1);
    samples::Mark::new(at, if by_kill { Signal::SIGKILL } else { Signal::SIGTERM })
}

/// Until somebody wants the run to end early.
fn interrupted() -> Result<impl Future<Output = ()>, BenchError> {
    let failed = || BenchError::system("listen for signals");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed())?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
    })
}

/// Lets time pass between two steps.
async fn rest(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds)).await;
}
