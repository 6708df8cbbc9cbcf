//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use countersign_common::selector::SelectorKind;

use crate::abuse::Abuse;
use crate::compare::Compare;
use crate::first::First;
use crate::flood;
use crate::floor::FloorServer;
use crate::held::Hold;
use crate::load::Load;
use crate::scenario::Name;
use crate::setting::{AUDIENCE, Against, Plan, Setting};
use crate::soak::{Soak, Visit};

/// Measures what the agent costs beside what the machine can do at best, in the same run.
///
/// Starts what it needs, and load processes of its own. In each round all scenarios are measured one
/// after the other; in each of them, ours and the floor one right after the other. Needs no root,
/// except where a scenario says so, and leaves nothing running.
#[derive(Debug, Parser)]
#[command(name = "countersign-bench", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo run --release -p bench -- all
  cargo run --release -p bench -- all --quick
  cargo run --release -p bench -- run warm sign --rounds 7 --out figures
  cargo run --release -p bench -- run warm -o json
  cargo run --release -p bench -- all --against unix:///run/spire/agent/public/api.sock --audience billing
  cargo run --release -p bench -- list
  cargo run --release -p bench -- compare target/first/figures.json target/second/figures.json

Exit codes: 0 measured, 1 a request failed or something could not be measured, 2 wrong usage";

const COMMON: &str = "\
Examples:
  cargo run --release -p bench -- run warm connect --quick
  cargo run --release -p bench -- run sign --rounds 9 -o json
  cargo run --release -p bench -- run warm --selectors unix:uid";

const FLOODS: &str = "\
Examples:
  cargo run --release -p bench -- flood
  cargo run --release -p bench -- flood D2 --rounds 9";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Every scenario, one after the other.
    #[command(after_help = EXAMPLES)]
    All(Options),
    /// The scenarios that are named.
    #[command(after_help = COMMON)]
    Run {
        /// Which; `list` says what they are.
        #[arg(required = true, value_name = "SCENARIO")]
        scenarios: Vec<Name>,
        #[command(flatten)]
        run: Options,
    },
    /// What can be measured: scenarios, floors, aims.
    List,
    /// What one user's requests take while another floods the agent, in each way of which an
    /// attack is tested (D1 to D5); needs root.
    #[command(after_help = FLOODS)]
    Flood {
        /// Only the ways of these rows.
        #[arg(value_name = "ROW", value_parser = flood::ROWS)]
        rows: Vec<String>,
        #[command(flatten)]
        run: Options,
    },
    Soak(Soak),
    Compare(Compare),
    /// Clients that misbehave, for as long as it is told.
    #[command(hide = true)]
    Abuse(Abuse),
    /// One process that comes, asks and goes.
    #[command(hide = true)]
    Visit(Visit),
    /// The load process of one measurement; prints one line of JSON.
    #[command(hide = true)]
    Load(Load),
    /// The first call of a new process; prints one line of JSON.
    #[command(hide = true)]
    First(First),
    /// A bare server of the same stack, until its input ends.
    #[command(hide = true)]
    FloorServer(FloorServer),
    /// The process that holds streams, until its input ends.
    #[command(hide = true)]
    Hold(Hold),
}

/// What every measurement takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Short: shows that it works, not how fast. Two rounds, unless told otherwise.
    #[arg(long)]
    quick: bool,
    /// Rounds; in each, a scenario measures ours and the floor once. 5, or 2 if it is to be quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Where figures.json and a chart of each scenario are written.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Measure the workload scenarios at this agent too: any that serves the SPIFFE Workload API.
    #[arg(long, value_name = "SOCKET", value_parser = socket)]
    against: Option<PathBuf>,
    /// An audience for which that agent gives this process tokens; new ones begin with it and a slash.
    #[arg(long, default_value = AUDIENCE, requires = "against")]
    audience: String,
    /// Selectors of the registration entry that the load process must match, by kind.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = selector_kind, default_value = "unix:uid,unix:path")]
    selectors: Vec<SelectorKind>,
    /// How to print the figures.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// How the figures are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

impl Options {
    /// As the scenarios need it.
    pub(crate) fn setting(&self) -> Setting {
        let rounds = self.rounds.unwrap_or(if self.quick { 2 } else { 5 });
        let plan = if self.quick { Plan::quick(rounds) } else { Plan::whole(rounds) };
        let against = self.against.clone().map(|socket| Against { socket, audience: self.audience.clone() });
        Setting { plan, selectors: self.selectors.clone(), against }
    }
}

fn selector_kind(text: &str) -> Result<SelectorKind, String> {
    let known = SelectorKind::ALL.into_iter().find(|kind| kind.to_string() == text);
    known.ok_or_else(|| format!("no such kind of selector; try {}", SelectorKind::UnixPath))
}

/// As `SPIFFE_ENDPOINT_SOCKET` spells it.
fn socket(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:"));
    let path = path.filter(|path| path.starts_with('/')).map(PathBuf::from);
    path.ok_or_else(|| "not the address of a Unix socket; try unix:///run/spire/agent/public/api.sock".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_socket_is_spelled_as_the_standard_has_it() {
        assert_eq!(socket("unix:///run/a.sock"), Ok(PathBuf::from("/run/a.sock")));
        assert_eq!(socket("unix:/run/a.sock"), Ok(PathBuf::from("/run/a.sock")));
        assert!(socket("unix://run/a.sock").is_err() && socket("/run/a.sock").is_err());
    }

    #[test]
    fn scenarios_are_named_and_rounds_counted() {
        let parsed = |words: &[&str]| Arguments::try_parse_from([&["countersign-bench"], words].concat());
        assert!(parsed(&["run"]).is_err());
        assert!(parsed(&["run", "nothing"]).is_err());
        assert!(parsed(&["all", "--audience", "x"]).is_err());
        let Ok(Arguments { command: Command::Run { scenarios, run } }) = parsed(&["run", "warm", "--quick"]) else {
            panic!("not a run");
        };
        assert_eq!((scenarios, run.setting().plan.rounds), (vec![Name::Warm], 2));
    }
}
