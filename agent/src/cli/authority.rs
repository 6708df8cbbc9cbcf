//! `countersign authority`: the signing keys and their life.

use std::io::{Write, stdout};

use clap::Subcommand;
use countersign_common::clock::Timestamp;
use countersign_common::proto::admin::authority_client::AuthorityClient;
use countersign_common::proto::admin::{ActivateRequest, PrepareRequest, ShowAuthorityRequest, ShowAuthorityResponse};
use serde_json::json;

use super::admin_socket::AdminSocket;
use super::outcome::{CliError, Outcome};
use super::output::Output;
use super::table;

const EXAMPLES: &str = "\
Examples:
  countersign authority show
  countersign authority prepare      publish the next key; it signs nothing yet
  countersign authority activate     sign with it, once everybody has fetched the bundle

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no agent or not now";

/// Commands of the family.
#[derive(Debug, Subcommand)]
pub(super) enum AuthorityCommand {
    /// Show the keys, what each is doing, and when the next one takes over.
    #[command(after_help = EXAMPLES)]
    Show(Options),
    /// Make the next signing key and publish it.
    #[command(after_help = EXAMPLES)]
    Prepare(Options),
    /// Sign with the prepared key from now on.
    #[command(after_help = EXAMPLES)]
    Activate(Options),
}

/// Options of every command of the family.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    socket: AdminSocket,
    #[command(flatten)]
    output: Output,
}

/// Runs one command of the family.
///
/// # Errors
/// Why it could not be done, and with which exit code.
pub(super) async fn run(command: AuthorityCommand) -> Result<Outcome, CliError> {
    let (AuthorityCommand::Show(options) | AuthorityCommand::Prepare(options) | AuthorityCommand::Activate(options)) =
        &command;
    let mut client = AuthorityClient::new(options.socket.connect().await?);
    let answer = match &command {
        AuthorityCommand::Show(_) => client.show(ShowAuthorityRequest {}).await,
        AuthorityCommand::Prepare(_) => client.prepare(PrepareRequest {}).await,
        AuthorityCommand::Activate(_) => client.activate(ActivateRequest {}).await,
    };
    let shown = answer.map_err(|status| CliError::from_status(&status))?.into_inner();
    let text = options.output.render(|| as_table(&shown), || Ok(as_value(&shown)))?;
    writeln!(stdout(), "{text}").map_err(CliError::output)?;
    Ok(Outcome::Done)
}

fn as_table(shown: &ShowAuthorityResponse) -> Result<String, CliError> {
    let mut rows = vec![["KEY", "ALGORITHM", "STATE", "ACTIVATES", "ENDS"].map(str::to_owned)];
    for key in &shown.jwt_keys {
        let [activates, ends] = [key.activates, key.ends].map(time);
        rows.push([key.kid.clone(), key.algorithm.clone(), key.state.clone(), activates, ends]);
    }
    let next = match shown.next_rotation_at {
        0 => "none planned".to_owned(),
        at => time(at),
    };
    Ok(format!(
        "trust domain   {}\nbundle         sequence {}\nnext rotation  {next}\n\n{}",
        shown.trust_domain,
        shown.bundle_sequence,
        table::columns(&rows)?
    ))
}

fn as_value(shown: &ShowAuthorityResponse) -> serde_json::Value {
    let keys = shown.jwt_keys.iter().map(|key| {
        json!({
            "kid": key.kid,
            "algorithm": key.algorithm,
            "state": key.state,
            "created": time(key.created),
            "activates": time(key.activates),
            "ends": time(key.ends),
        })
    });
    let next = (shown.next_rotation_at > 0).then(|| time(shown.next_rotation_at));
    json!({
        "trust_domain": shown.trust_domain,
        "bundle_sequence": shown.bundle_sequence,
        "next_rotation_at": next,
        "jwt_keys": keys.collect::<Vec<_>>(),
    })
}

fn time(seconds: u64) -> String {
    Timestamp::from_seconds(seconds).to_string()
}
