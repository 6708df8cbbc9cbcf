//! The command line: one file per family of commands.

mod admin_socket;
mod agent;
mod authority;
mod backup;
mod bundle;
mod dev;
mod entry;
mod input;
mod jwt;
mod outcome;
mod output;
mod status;
mod table;
mod workload_socket;
mod x509;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use outcome::{CliError, Outcome};

/// A SPIFFE workload identity agent: the identity goes to the process that answers, and to no other.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, propagate_version = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  countersign dev                                   try it: no root, no set-up, nothing kept
  countersign jwt fetch --audience hello            in another terminal, as a workload
  countersign agent --config /etc/countersign/agent.toml
  countersign entry apply entries.yaml";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process, for trying out: keys in memory, entries from a watched file.
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::Dev),
    /// Run the agent as a daemon.
    #[command(after_help = agent::EXAMPLES)]
    Agent(agent::Agent),
    /// Show how the agent is, and who uses what of it.
    #[command(after_help = status::EXAMPLES)]
    Status(status::Status),
    /// Registration entries: who is entitled to which identity.
    #[command(subcommand)]
    Entry(entry::EntryCommand),
    /// The signing authority: its keys and their life.
    #[command(subcommand)]
    Authority(authority::AuthorityCommand),
    /// Write a copy of the agent's database, while it works.
    #[command(after_help = backup::BACKUP_EXAMPLES)]
    Backup(backup::Backup),
    /// Bring a backup back, while no agent runs.
    #[command(after_help = backup::RESTORE_EXAMPLES)]
    Restore(backup::Restore),
    /// JWT-SVIDs, as a workload.
    #[command(subcommand)]
    Jwt(jwt::JwtCommand),
    /// X509-SVIDs, as a workload.
    #[command(subcommand, name = "x509")]
    X509(x509::X509Command),
    /// Trust bundles: the public keys that SVIDs are checked with.
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
}

/// How many tasks a busy thread works on before it looks who else has sent something. The
/// default, 61, is for throughput: under a flood everybody else would wait for 61 of its tasks.
const POLLS_BETWEEN_EVENTS: u32 = 8;

/// Threads of the runtime at least: one of them may wait for a disk while the others go on.
const LEAST_THREADS: usize = 2;

/// Reads the arguments of the process and runs the command that they name.
pub fn run() -> ExitCode {
    end_with_main_thread();
    let arguments = Arguments::parse();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(
            std::thread::available_parallelism().map_or(LEAST_THREADS, |cores| LEAST_THREADS.max(cores.get())),
        )
        .event_interval(POLLS_BETWEEN_EVENTS)
        .build()
        .map_err(|error| CliError::refused(format!("cannot start: {error}")))
        .and_then(|runtime| {
            let outcome = runtime.block_on(run_command(arguments.command));
            end(runtime);
            outcome
        });
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            // A closed standard error leaves the exit code to speak.
            let _ = writeln!(std::io::stderr(), "countersign: {error}");
            error.outcome().into()
        }
    }
}

/// A panic of this thread, such as that of a runtime whose threads the kernel refuses, ends the process.
/// Unwinding would wait for the threads that there are already, and those for work.
#[allow(clippy::disallowed_methods, reason = "destructors are what would wait; the memory goes with the process")]
fn end_with_main_thread() {
    let main = std::thread::current().id();
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        if std::thread::current().id() == main {
            std::process::exit(1);
        }
    }));
}

/// Ends without waiting for threads that wait for somebody else: the user database, or a file
/// system that a workload keeps from answering, must not keep the agent from stopping.
fn end(runtime: Runtime) {
    runtime.shutdown_timeout(Duration::from_millis(100));
}

async fn run_command(command: Command) -> Result<Outcome, CliError> {
    match command {
        // Boxed: they hold everything that runs.
        Command::Dev(dev) => Box::pin(dev.run()).await,
        Command::Agent(agent) => Box::pin(agent.run()).await,
        Command::Status(status) => status.run().await,
        Command::Entry(command) => entry::run(command).await,
        Command::Authority(command) => authority::run(command).await,
        Command::Backup(backup) => backup.run().await,
        Command::Restore(restore) => restore.run(),
        Command::Jwt(command) => jwt::run(command).await,
        Command::X509(command) => x509::run(command).await,
        Command::Bundle(command) => bundle::run(command).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_whole() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_thread_that_waits_for_somebody_else_does_not_keep_the_program() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let (started, begins) = std::sync::mpsc::channel();
        let (somebody, answers) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || {
            started.send(()).unwrap();
            let _ = answers.recv();
        });
        begins.recv().unwrap();
        let (ended, ends) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            end(runtime);
            ended.send(()).unwrap();
        });
        assert!(ends.recv_timeout(Duration::from_secs(30)).is_ok());
        drop(somebody);
    }

    /// Every command that does something shows how it is used.
    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let inner: Vec<_> = command.get_subcommands().filter(|command| command.get_name() != "help").collect();
            let help = command.clone().render_long_help().to_string();
            assert!(!inner.is_empty() || help.contains("Example"), "{path} has no example in its --help");
            inner.into_iter().for_each(|command| check(command, &path));
        }
        check(&Arguments::command(), "");
    }
}
