//! `countersign jwt`: JWT-SVIDs for workloads that have no SPIFFE library.

mod fetch;
mod token_file;
mod validate;

use clap::Subcommand;

use super::outcome::{CliError, Outcome};

/// Fetch and validate JWT-SVIDs over the Workload API.
#[derive(Debug, Subcommand)]
pub(super) enum JwtCommand {
    /// Fetch a JWT-SVID for this process.
    #[command(after_help = fetch::EXAMPLES)]
    Fetch(fetch::Fetch),
    /// Check a JWT-SVID and print its claims.
    #[command(after_help = validate::EXAMPLES)]
    Validate(validate::Validate),
}

/// Runs one command of the family.
///
/// # Errors
/// Why it could not be done, and with which exit code.
pub(super) async fn run(command: JwtCommand) -> Result<Outcome, CliError> {
    match command {
        JwtCommand::Fetch(fetch) => fetch.run().await,
        JwtCommand::Validate(validate) => validate.run().await,
    }
}
