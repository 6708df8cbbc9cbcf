//! The agent as the attack suites run it: with protections that they can take out. Never installed.

#![allow(clippy::print_stderr, reason = "what is out has to be said before there is a log")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(out) = countersign_agent::weakened::taken_out() else {
        eprintln!("countersign-weakened: COUNTERSIGN_WEAKENED names something that is no protection");
        return ExitCode::FAILURE;
    };
    eprintln!("countersign-weakened: for attack suites only; runs without {out:?}");
    countersign_agent::cli::run()
}
