//! Counts what the hot paths of the agent cost in instructions, and holds the counts against the
//! budget that is kept in the repository.
//!
//! Unlike a time, a count does not depend on how busy the machine is: so it may fail a build.

mod budget;
mod callgrind;
mod client;
mod paths;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;

use budget::{Budget, TakenWith};

/// In percent, either way. Two counts of one build differ by less than a quarter of it (docs/release.md).
const TOLERANCE: f64 = 5.0;

/// Counts the instructions of the agent's hot paths, and compares them with the budget.
///
/// Runs the release build of the agent under callgrind, which has to be there: `budgets/run` fetches
/// it if it is not, and then runs this.
#[derive(Debug, Parser)]
#[command(name = "countersign-budgets", version, after_help = EXAMPLES)]
struct Arguments {
    /// Make the new counts the budget.
    #[arg(long)]
    update: bool,
    /// The file with the budget; the repository's own if not given.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  budgets/run
  budgets/run --update

Exit codes: 0 within the budget, 1 not within it or nothing could be counted, 2 wrong usage";

/// Why there is no comparison, or what it found.
#[derive(Debug, thiserror::Error)]
enum BudgetError {
    /// The tool is missing, or does not know the system calls of the agent.
    #[error("valgrind {least} or later has to be there, and is {0}; budgets/run fetches it", least = callgrind::LEAST)]
    NoValgrind(String),
    /// The agent refused an operator.
    #[error("cannot apply entries: {0}")]
    Apply(String),
    /// The agent did not come up again.
    #[error("the agent ended under valgrind before it was ready: {0}")]
    Ended(std::process::ExitStatus),
    /// A debug build costs several times as much.
    #[error("the budget is for release builds: budgets/run")]
    NotRelease,
    /// Another instruction set has other counts.
    #[error("the budget is for {0}, and this machine is {machine}: nothing can be compared", machine = std::env::consts::ARCH)]
    OtherMachine(String),
    /// Something of the system.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The process does not answer the debugger's door of valgrind.
    #[error("callgrind does not do as it is told: {0}\n{1}")]
    Vgdb(String, String),
    /// It does not answer at all.
    #[error("callgrind did not answer in time")]
    Late,
    /// A dump without a total.
    #[error("callgrind wrote no count")]
    NoCount,
    /// A line of the budget's file.
    #[error("not a line of a budget: {0}")]
    Line(String),
    /// A client could not connect.
    #[error("cannot connect to the agent: {0}")]
    Connect(#[from] tonic::transport::Error),
    /// A request was refused or failed.
    #[error("a request failed: {0}")]
    Request(#[from] tonic::Status),
    /// A request was answered, but not as one that was to be counted.
    #[error("a request was answered with {0}")]
    Answer(&'static str),
    /// The point of it all.
    #[error("the counts do not keep to the budget\n{0}")]
    Broken(String),
}

impl BudgetError {
    fn system(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("countersign-budgets: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), BudgetError> {
    if cfg!(debug_assertions) {
        return Err(BudgetError::NotRelease);
    }
    let file = arguments.file.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt"));
    let now =
        TakenWith { compiler: compiler()?, counter: callgrind::version()?, machine: std::env::consts::ARCH.to_owned() };
    let kept = match std::fs::read_to_string(&file) {
        Ok(text) => text.parse::<Budget>()?,
        Err(error) if arguments.update && error.kind() == std::io::ErrorKind::NotFound => {
            Budget { taken_with: now.clone(), counts: Vec::new() }
        }
        Err(error) => return Err(BudgetError::system("read the budget")(error)),
    };
    if !arguments.update && kept.taken_with.machine != now.machine {
        return Err(BudgetError::OtherMachine(kept.taken_with.machine));
    }
    let counts = paths::count(|count| say(&kept.verdict(count).to_string())).await?;
    if arguments.update {
        let budget = Budget { taken_with: now, counts };
        return std::fs::write(file, budget.to_string()).map_err(BudgetError::system("write the budget"));
    }
    match kept.broken_by(&counts, &now, TOLERANCE) {
        None => Ok(()),
        Some(why) => Err(BudgetError::Broken(why)),
    }
}

/// The compiler that cargo runs here, as it names itself.
fn compiler() -> Result<String, BudgetError> {
    let asked = Command::new("rustc").arg("--version").current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let asked = asked.map_err(BudgetError::system("ask the compiler for its version"))?;
    Ok(String::from_utf8_lossy(&asked.stdout).trim().to_owned())
}

/// For people: the file is what is kept.
fn say(what: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{what}");
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
