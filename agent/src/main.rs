//! The one binary: reads the arguments and runs one command.

fn main() -> std::process::ExitCode {
    countersign_agent::cli::run()
}
