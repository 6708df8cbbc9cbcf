//! `countersign bundle`: the public keys of the trust domain.

use std::io::{Write, stdout};

use clap::{Subcommand, ValueEnum};
use countersign_common::proto::admin::ShowBundleRequest;
use countersign_common::proto::admin::authority_client::AuthorityClient;
use countersign_common::proto::workload::JwtBundlesRequest;
use countersign_common::untrusted::inert_lines;
use tonic::Code;

use super::admin_socket::AdminSocket;
use super::outcome::{CliError, Outcome};
use super::workload_socket::WorkloadSocket;

const EXAMPLES: &str = "\
Examples:
  countersign bundle show                    the JWK Set, as a workload gets it (no `use`)
  countersign bundle show --format spiffe    the SPIFFE bundle document, for operators:
                                             asks the admin socket, which knows its sequence

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no agent or not now";

/// Commands of the family.
#[derive(Debug, Subcommand)]
pub(super) enum BundleCommand {
    /// Print the trust bundle.
    #[command(after_help = EXAMPLES)]
    Show(Show),
}

/// Arguments of `countersign bundle show`.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    socket: WorkloadSocket,
    /// Which document.
    #[arg(long, value_enum, default_value = "jwks")]
    format: Format,
    #[command(flatten)]
    admin_socket: AdminSocket,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// JSON Web Key Set (RFC 7517).
    Jwks,
    /// SPIFFE bundle document, with sequence and refresh hint.
    Spiffe,
}

/// Runs one command of the family.
///
/// # Errors
/// Why it could not be done, and with which exit code.
pub(super) async fn run(BundleCommand::Show(show): BundleCommand) -> Result<Outcome, CliError> {
    let document = match show.format {
        Format::Jwks => show.jwks().await?,
        Format::Spiffe => show.spiffe().await?,
    };
    writeln!(stdout(), "{}", inert_lines(document.trim_end())).map_err(CliError::output)?;
    Ok(Outcome::Done)
}

impl Show {
    async fn jwks(&self) -> Result<String, CliError> {
        let mut client = self.socket.connect().await?;
        let of_status = |status: tonic::Status| match status.code() {
            Code::PermissionDenied => {
                CliError::refused("refused: this process is entitled to no identity, so to no bundle")
            }
            _ => CliError::from_status(&status),
        };
        let mut stream = client.fetch_jwt_bundles(JwtBundlesRequest {}).await.map_err(of_status)?.into_inner();
        let first = stream.message().await.map_err(of_status)?.unwrap_or_default();
        let bundle = first.bundles.into_values().next();
        bundle
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| CliError::refused("the agent answered with no bundle"))
    }

    async fn spiffe(&self) -> Result<String, CliError> {
        let mut client = AuthorityClient::new(self.admin_socket.connect().await?);
        let shown = client.show_bundle(ShowBundleRequest {}).await.map_err(|status| CliError::from_status(&status))?;
        Ok(shown.into_inner().document)
    }
}
