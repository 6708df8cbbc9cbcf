//! Measures what the agent costs beside what it must cost at least.
//!
//! Starts agents and floors of its own, and load processes, so that none takes processor time in
//! another's name. Nothing is asserted about time: it fails only if a request does.

mod abuse;
mod admin;
mod arguments;
mod bare;
mod call;
mod caller;
mod chart;
mod compare;
mod error;
mod figure;
mod findings;
mod first;
mod flood;
mod floor;
mod held;
mod load;
mod machine;
mod measurement;
mod noise;
mod pacer;
mod process;
mod reading;
mod report;
mod run;
mod scenario;
mod setting;
mod soak;
mod spread;
mod stage;
mod table;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, Options, Output};
use error::BenchError;
use scenario::Name;

/// How many tasks a thread of the floor server works on before it looks for news: as the agent has it.
const POLLS_BETWEEN_EVENTS: u32 = 8;

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(text) if text.is_empty() => ExitCode::SUCCESS,
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

fn run(command: Command) -> Result<String, BenchError> {
    let failed = BenchError::system("start a runtime");
    let mut runtime = if matches!(command, Command::FloorServer(_)) {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        // One thread: a load process must not take more of a small machine than it needs.
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = runtime.enable_all().event_interval(POLLS_BETWEEN_EVENTS).build().map_err(failed)?;
    let done = runtime.block_on(run_command(command));
    // Whoever still waits in a read that nobody answers is not waited for.
    runtime.shutdown_background();
    done
}

async fn run_command(command: Command) -> Result<String, BenchError> {
    match command {
        Command::All(run) => measure(&run, &Name::all()).await,
        Command::Run { scenarios, run } => measure(&run, &scenarios).await,
        Command::List => Ok(list()),
        Command::Compare(compare) => compare.run(),
        Command::Flood { rows, run } => flood(&rows, &run).await,
        Command::Soak(soak) => soak.run().await,
        Command::Abuse(abuse) => abuse.run().await,
        Command::Visit(visit) => visit.run().await,
        Command::Load(load) => load.run().await,
        Command::First(first) => first.run().await,
        Command::FloorServer(floor) => floor.run().await,
        Command::Hold(hold) => hold.run().await,
    }
}

/// Runs, writes, and prints. Figures that there are come first; what is missing ends it with 1.
async fn measure(run: &Options, names: &[Name]) -> Result<String, BenchError> {
    let report = run::measure(run.setting(), names).await?;
    run::write(&report, &run.out)?;
    let text = match run.output {
        Output::Table => table::of(&report).map_err(BenchError::system("lay out the table"))?,
        Output::Json => serde_json::to_string_pretty(&report)?,
    };
    let failed = report.failed();
    if failed.is_empty() {
        return Ok(text);
    }
    // It is of use even if nobody reads it here: the files have it too.
    let _ = writeln!(std::io::stdout(), "{text}");
    Err(BenchError::Incomplete(failed.join(", ")))
}

fn list() -> String {
    let scenario = |name: Name| {
        let about = name.about();
        let against = if name.is_of_any_agent() { "\n  any agent: with --against" } else { "" };
        format!("{}\n  {}\n  floor: {}\n  aim: {}{against}", name.word(), about.question, about.floor, about.aim)
    };
    Name::all().into_iter().map(scenario).collect::<Vec<_>>().join("\n\n")
}

async fn flood(rows: &[String], run: &Options) -> Result<String, BenchError> {
    let report = flood::measure(&run.setting(), rows).await?;
    let json = serde_json::to_string_pretty(&report)?;
    run::write_json(&json, &run.out, "flood.json")?;
    match run.output {
        Output::Table => flood::table(&report).map_err(BenchError::system("lay out the table")),
        Output::Json => Ok(json),
    }
}
