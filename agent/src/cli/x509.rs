//! `countersign x509`: X509-SVIDs for workloads that have no SPIFFE library.

mod after_renewal;
mod fetch;
mod files;
mod folder;
mod follow;
mod keeper;
mod key;
mod message;
mod shown;
mod validate;

#[cfg(test)]
mod samples;

use clap::Subcommand;

use super::outcome::{CliError, Outcome};

/// Fetch and validate X509-SVIDs over the Workload API.
#[derive(Debug, Subcommand)]
pub(super) enum X509Command {
    /// Fetch the X509-SVIDs of this process: once, or kept fresh in a directory.
    #[command(after_help = fetch::EXAMPLES)]
    Fetch(fetch::Fetch),
    /// Check an X509-SVID and print what it says.
    #[command(after_help = validate::EXAMPLES)]
    Validate(validate::Validate),
}

/// Runs one command of the family.
///
/// # Errors
/// Why it could not be done, and with which exit code.
pub(super) async fn run(command: X509Command) -> Result<Outcome, CliError> {
    match command {
        X509Command::Fetch(fetch) => fetch.run().await,
        X509Command::Validate(validate) => validate.run().await,
    }
}
