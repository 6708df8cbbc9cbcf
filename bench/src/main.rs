//! Measures calls of the Workload API beside the cheapest call that the same server can answer.
//!
//! Starts an agent of its own and a load process for each measurement, so that neither takes
//! processor time in the other's name. Nothing is asserted about time: it fails only if a
//! request does.

mod call;
mod cpu;
mod flood;
mod load;
mod machine;
mod measurement;
mod report;
mod rounds;
mod spread;
mod streams;
mod table;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use countersign_common::selector::SelectorKind;

use flood::Flood;
use load::Load;
use rounds::Plan;
use streams::Hold;

/// Measures a warm FetchJWTSVID beside an empty gRPC call on the same socket.
///
/// A real agent is started, with a store of its own, and each measurement has a load process of
/// its own. The load is a closed loop: a client calls again as soon as it is answered.
#[derive(Debug, Parser)]
#[command(name = "countersign-bench", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

const EXAMPLES: &str = "\
Examples:
  cargo run --release -p countersign-bench
  cargo run --release -p countersign-bench -- --quick
  sudo cargo run --release -p countersign-bench -- --flooded
  cargo run --release -p countersign-bench -- --streams 10000
  cargo run --release -p countersign-bench -- -o json > figures.json

Exit codes: 0 measured, 1 a request failed or nothing could be measured, 2 wrong usage";

#[derive(Debug, Subcommand)]
enum Command {
    /// The load process of one measurement; prints one line of JSON.
    #[command(hide = true)]
    Load(Load),
    /// The flood of another user, for as long as it is told.
    #[command(hide = true)]
    Flood(Flood),
    /// The process that holds streams, until its input ends.
    #[command(hide = true)]
    Hold(Hold),
}

#[derive(Debug, Args)]
struct Run {
    /// Take two short rounds, some ten seconds in all: shows that it works, not how fast.
    #[arg(long)]
    quick: bool,
    /// Rounds; in each, every scenario is measured once with each of the two calls.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Measure instead what one client's calls take while another user floods the agent; needs root.
    #[arg(long)]
    flooded: bool,
    /// Measure instead this many open X.509 streams, and the replacement of all their SVIDs.
    #[arg(long, value_name = "COUNT", conflicts_with = "flooded", value_parser = clap::value_parser!(u32).range(1..=15_000))]
    streams: Option<u32>,
    /// Selectors of the registration entry that the load process must match, by kind.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = selector_kind, default_value = "unix:uid,unix:path")]
    selectors: Vec<SelectorKind>,
    /// How to print the figures.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// A kind of selector that the load process is not given.
    #[error("no value is known here for the selector {0}; choose among unix:uid, unix:gid, unix:path")]
    Selector(SelectorKind),
    /// Something of the system.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A client could not connect.
    #[error("cannot connect to the agent: {0}")]
    Connect(#[from] tonic::transport::Error),
    /// A request was refused or failed.
    #[error("a request failed: {0}")]
    Request(#[from] tonic::Status),
    /// A request was answered, but not as a warm one.
    #[error("a request was answered with {0}")]
    Answer(&'static str),
    /// Nothing came within the limit.
    #[error("the clients were not done within {0:?} after their time")]
    Late(Duration),
    /// The load process failed, and has said why.
    #[error("the load process failed: {0}")]
    LoadProcess(String),
    /// Figures that are none.
    #[error("no figures for {0}: nothing was measured")]
    Nothing(&'static str),
    /// A line of JSON.
    #[error("the figures have no JSON form: {0}")]
    Json(#[from] serde_json::Error),
}

impl BenchError {
    fn system(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}

// One thread: the load process must not take more of a small machine than it needs.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Command::Load(load)) => load.run().await,
        Some(Command::Flood(flood)) => flood.run().await,
        Some(Command::Hold(hold)) => hold.run().await,
        None => measure(arguments.run).await,
    };
    match done {
        Ok(text) => match writeln!(std::io::stdout(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            // A closed standard error leaves the exit code to speak.
            let _ = writeln!(std::io::stderr(), "countersign-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(run: Run) -> Result<String, BenchError> {
    let plan = if run.quick { Plan::quick() } else { Plan::whole(run.rounds) };
    if run.flooded {
        let report = flood::measure(&plan).await?;
        return match run.output {
            Output::Table => Ok(flood::table(&report)),
            Output::Json => Ok(serde_json::to_string_pretty(&report)?),
        };
    }
    if let Some(count) = run.streams {
        let report = streams::measure(count, &plan).await?;
        return match run.output {
            Output::Table => Ok(streams::table(&report)),
            Output::Json => Ok(serde_json::to_string_pretty(&report)?),
        };
    }
    let report = rounds::measure(&plan, &run.selectors).await?;
    match run.output {
        Output::Table => table::of(&report).map_err(BenchError::system("lay out the table")),
        Output::Json => Ok(serde_json::to_string_pretty(&report)?),
    }
}

fn selector_kind(text: &str) -> Result<SelectorKind, String> {
    let known = SelectorKind::ALL.into_iter().find(|kind| kind.to_string() == text);
    known.ok_or_else(|| format!("no such kind of selector; try {}", SelectorKind::UnixPath))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
