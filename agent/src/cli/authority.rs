//! `countersign authority`: the signing keys and their life.

mod shown;

use std::io::{Write, stdout};

use clap::{Subcommand, ValueEnum};
use countersign_common::proto::admin::authority_client::AuthorityClient;
use countersign_common::proto::admin::{
    ActivateRequest, KeyKind, PrepareRequest, RevokeRequest, ShowAuthorityRequest, TaintRequest,
};

use super::admin_socket::AdminSocket;
use super::outcome::{CliError, Outcome};
use super::output::Output;

const EXAMPLES: &str = "\
Examples:
  countersign authority show
  countersign authority prepare               publish the next key of each kind; it signs nothing yet
  countersign authority prepare --kind x509   the next X.509 authority only
  countersign authority activate              sign with it, once everybody has fetched the bundle
  countersign authority taint 3f9a0c21        never sign with it again, and replace what it signed
  countersign authority revoke 3f9a0c21       have what it signed refused, once it is replaced

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no agent or not now";

/// Commands of the family.
#[derive(Debug, Subcommand)]
pub(super) enum AuthorityCommand {
    /// Show the keys, what each is doing, and when the next one takes over.
    #[command(after_help = EXAMPLES)]
    Show(Options),
    /// Make the next signing key and publish it.
    #[command(after_help = EXAMPLES)]
    Prepare(OfKind),
    /// Sign with the prepared key from now on.
    #[command(after_help = EXAMPLES)]
    Activate(OfKind),
    /// Never sign with a key again, and replace what it signed at once. Another one takes the
    /// place of the active one. It stays published, so that nothing breaks meanwhile.
    #[command(after_help = EXAMPLES)]
    Taint(Named),
    /// Publish a key no more: what it signed is refused from now on. The active one has to be
    /// tainted first.
    #[command(after_help = EXAMPLES)]
    Revoke(Named),
}

/// Options of every command of the family.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    socket: AdminSocket,
    #[command(flatten)]
    output: Output,
}

/// Options of commands for the next key.
#[derive(Debug, clap::Args)]
pub(super) struct OfKind {
    /// Which keys: both kinds if it is left out, all or none.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    #[command(flatten)]
    options: Options,
}

/// Options of commands for one key.
#[derive(Debug, clap::Args)]
pub(super) struct Named {
    /// The kid of a JWT key or the subject key id of an X.509 authority, as `authority show` has
    /// them; or how it begins, in 8 characters or more.
    #[arg(allow_hyphen_values = true)]
    id: String,
    #[command(flatten)]
    options: Options,
}

/// What a key signs.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// JWT-SVIDs.
    Jwt,
    /// X509-SVIDs.
    X509,
}

impl OfKind {
    fn wire(&self) -> i32 {
        let kind = match self.kind {
            None => KeyKind::Unspecified,
            Some(Kind::Jwt) => KeyKind::Jwt,
            Some(Kind::X509) => KeyKind::X509,
        };
        kind.into()
    }
}

impl AuthorityCommand {
    fn options(&self) -> &Options {
        match self {
            Self::Show(options) => options,
            Self::Prepare(next) | Self::Activate(next) => &next.options,
            Self::Taint(named) | Self::Revoke(named) => &named.options,
        }
    }
}

/// Runs one command of the family.
///
/// # Errors
/// Why it could not be done, and with which exit code.
pub(super) async fn run(command: AuthorityCommand) -> Result<Outcome, CliError> {
    let options = command.options();
    let mut client = AuthorityClient::new(options.socket.connect().await?);
    let answer = match &command {
        AuthorityCommand::Show(_) => client.show(ShowAuthorityRequest {}).await,
        AuthorityCommand::Prepare(next) => client.prepare(PrepareRequest { kind: next.wire() }).await,
        AuthorityCommand::Activate(next) => client.activate(ActivateRequest { kind: next.wire() }).await,
        AuthorityCommand::Taint(named) => client.taint(TaintRequest { id: named.id.clone() }).await,
        AuthorityCommand::Revoke(named) => client.revoke(RevokeRequest { id: named.id.clone() }).await,
    };
    let shown = answer.map_err(|status| CliError::from_status(&status))?.into_inner();
    let text = options.output.render(|| shown::as_table(&shown), || Ok(shown::as_value(&shown)))?;
    writeln!(stdout(), "{text}").map_err(CliError::output)?;
    Ok(Outcome::Done)
}
