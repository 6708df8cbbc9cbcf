//! `countersign bundle`: the public keys of trust domains, the agent's own and those that operators set.

mod changes;
mod list;
#[cfg(test)]
mod tests;

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use countersign_common::proto::admin::GetBundleRequest;
use countersign_common::proto::admin::bundles_client::BundlesClient;
use countersign_common::proto::workload::JwtBundlesRequest;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::untrusted::inert_lines;
use tonic::Code;
use tonic::transport::Channel;

use super::admin_socket::AdminSocket;
use super::outcome::{CliError, Outcome};
use super::output::Output;
use super::workload_socket::WorkloadSocket;

const EXAMPLES: &str = "\
Examples:
  countersign bundle list                               whose keys the agent knows
  countersign bundle show                               the JWK Set, as a workload gets it
                                                        (no `use`)
  countersign bundle show --format spiffe               the SPIFFE bundle document, for
                                                        operators: asks the admin socket
  countersign bundle show partner.example               that of another, as it was set
  countersign bundle set partner.example partner.json   for entries with `federates_with`
  curl -sf https://partner.example/bundle | countersign bundle set partner.example -
  countersign bundle delete partner.example

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no agent or not now";

/// Commands of the family.
#[derive(Debug, Subcommand)]
pub(super) enum BundleCommand {
    /// List trust domains with a bundle: the agent's own, and those that operators set.
    #[command(after_help = EXAMPLES)]
    List {
        #[command(flatten)]
        socket: AdminSocket,
        #[command(flatten)]
        output: Output,
    },
    /// Print a trust bundle.
    #[command(after_help = EXAMPLES)]
    Show(Show),
    /// Set the bundle of another trust domain, or replace it by a later one.
    #[command(after_help = EXAMPLES)]
    Set {
        #[command(flatten)]
        socket: AdminSocket,
        /// Also if the document is older than the one that is set, or at odds with it.
        #[arg(long)]
        force: bool,
        /// Whose bundle it is.
        #[arg(value_name = "TRUST_DOMAIN")]
        trust_domain: TrustDomain,
        /// SPIFFE bundle document or JWK Set, at most 1 MiB; - is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Delete the bundle of another trust domain; no SVID of it is valid from then on.
    #[command(after_help = EXAMPLES)]
    Delete {
        #[command(flatten)]
        socket: AdminSocket,
        /// Whose bundle.
        #[arg(value_name = "TRUST_DOMAIN")]
        trust_domain: TrustDomain,
    },
}

/// Arguments of `countersign bundle show`.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    socket: WorkloadSocket,
    /// Which document; jwks without a trust domain, spiffe with one.
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    admin_socket: AdminSocket,
    /// Whose bundle; the agent's own trust domain without it.
    #[arg(value_name = "TRUST_DOMAIN")]
    trust_domain: Option<TrustDomain>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON Web Key Set (RFC 7517), as a workload gets it: asks the workload socket.
    Jwks,
    /// SPIFFE bundle document, with sequence and refresh hint: asks the admin socket. That of another
    /// trust domain is shown as it was set.
    Spiffe,
}

/// Runs one command of the family.
///
/// # Errors
/// Why it could not be done, and with which exit code.
pub(super) async fn run(command: BundleCommand) -> Result<Outcome, CliError> {
    run_to(&mut stdout(), &mut stderr(), command).await
}

/// Runs one command, prints to `out` and warns on `err`.
async fn run_to(out: &mut impl Write, err: &mut impl Write, command: BundleCommand) -> Result<Outcome, CliError> {
    let (text, warning) = match command {
        BundleCommand::List { socket, output } => (list::list(&socket, &output).await?, None),
        BundleCommand::Show(show) => (show.document().await?, None),
        BundleCommand::Set { socket, force, trust_domain, file } => {
            changes::set(&socket, &trust_domain, &file, force).await?
        }
        BundleCommand::Delete { socket, trust_domain } => changes::delete(&socket, &trust_domain).await?,
    };
    writeln!(out, "{}", inert_lines(text.trim_end())).map_err(CliError::output)?;
    if let Some(warning) = warning {
        writeln!(err, "warning: {}", inert_lines(&warning)).map_err(CliError::output)?;
    }
    Ok(Outcome::Done)
}

async fn connect(socket: &AdminSocket) -> Result<BundlesClient<Channel>, CliError> {
    Ok(BundlesClient::new(socket.connect().await?))
}

impl Show {
    async fn document(&self) -> Result<String, CliError> {
        let by_default = if self.trust_domain.is_some() { Format::Spiffe } else { Format::Jwks };
        match self.format.unwrap_or(by_default) {
            Format::Jwks => self.jwks().await,
            Format::Spiffe => self.spiffe().await,
        }
    }

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
        let bundles = first.bundles.into_iter().collect();
        let bytes = pick(bundles, self.trust_domain.as_ref())?;
        String::from_utf8(bytes).map_err(|_| CliError::refused("the agent answered with a bundle that is not text"))
    }

    async fn spiffe(&self) -> Result<String, CliError> {
        let trust_domain = self.trust_domain.as_ref().map(ToString::to_string).unwrap_or_default();
        let shown = connect(&self.admin_socket).await?.show(GetBundleRequest { trust_domain }).await;
        Ok(shown.map_err(|status| CliError::from_status(&status))?.into_inner().document)
    }
}

/// The bundle that is meant, of those that a workload is given by the SPIFFE ID of their trust domain.
///
/// # Errors
/// It is not among them, or there are several and none is named: which of them is the workload's
/// own, the message does not say.
fn pick(mut bundles: Vec<(String, Vec<u8>)>, wanted: Option<&TrustDomain>) -> Result<Vec<u8>, CliError> {
    bundles.sort();
    if let Some(wanted) = wanted {
        let id = wanted.id();
        let found = bundles.into_iter().find(|(of, _)| of == id.as_str());
        let none = || CliError::refused(format!("this process is given no bundle of {wanted}"));
        return found.map(|(_, bundle)| bundle).ok_or_else(none);
    }
    match &mut *bundles {
        [] => Err(CliError::refused("the agent answered with no bundle")),
        [(_, only)] => Ok(std::mem::take(only)),
        several => {
            let of: Vec<_> = several.iter().map(|(of, _)| of.strip_prefix("spiffe://").unwrap_or(of)).collect();
            Err(CliError::usage(format!(
                "this process is given the bundles of {}: say which one, as in countersign bundle show --format jwks {}",
                of.join(", "),
                of[0]
            )))
        }
    }
}
