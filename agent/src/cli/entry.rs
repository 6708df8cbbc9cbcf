//! `countersign entry`: registration entries, kept by operators as reviewed files.

mod changes;
mod json;
mod sources;
#[cfg(test)]
mod tests;

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;

use clap::Subcommand;
use countersign_common::entry::{Entry, parse_sources};
use countersign_common::proto::admin::registry_client::RegistryClient;
use countersign_common::proto::admin::{ApplyRequest, ApplyResponse, DeleteRequest, ListRequest};
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::untrusted::inert_lines;
use tonic::transport::Channel;

use super::admin_socket::AdminSocket;
use super::outcome::{CliError, Outcome};
use super::output::Output;
use super::table;
use crate::admin_api::MAX_MESSAGE_BYTES;
use crate::weakened::Protection;

const EXAMPLES: &str = "\
Examples:
  countersign entry validate entries.yaml         no agent needed
  countersign entry diff entries.yaml             what would change; exit code 1 if something
  countersign entry apply entries.yaml            one transaction
  countersign entry apply --prune entries.yaml    and delete what is not in the file
  countersign entry list -o yaml > entries.yaml
  countersign entry delete orders-api

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no agent or not now;
            diff: 0 no difference, 1 a difference, 2 or 3 could not compare";

/// Commands of the family.
#[derive(Debug, Subcommand)]
pub(super) enum EntryCommand {
    /// Check files of entries and tell everything that is wrong with them.
    #[command(after_help = EXAMPLES)]
    Validate {
        /// The trust domain that the entries must be of.
        #[arg(long, value_name = "NAME")]
        trust_domain: Option<TrustDomain>,
        /// Files of entries; - is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Create and update entries, all or none.
    #[command(after_help = EXAMPLES)]
    Apply {
        #[command(flatten)]
        socket: AdminSocket,
        /// Delete entries that are in none of the files: the files are the whole truth.
        #[arg(long)]
        prune: bool,
        /// Say what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Files of entries; - is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show what apply would change, line by line.
    #[command(after_help = EXAMPLES)]
    Diff {
        #[command(flatten)]
        socket: AdminSocket,
        /// As with apply: entries that are in none of the files count as deleted.
        #[arg(long)]
        prune: bool,
        /// Files of entries; - is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List all entries.
    #[command(after_help = EXAMPLES)]
    List {
        #[command(flatten)]
        socket: AdminSocket,
        #[command(flatten)]
        output: Output,
    },
    /// Show single entries.
    #[command(after_help = EXAMPLES)]
    Show {
        #[command(flatten)]
        socket: AdminSocket,
        #[command(flatten)]
        output: Output,
        /// Ids of entries.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Delete entries, all or none.
    #[command(after_help = EXAMPLES)]
    Delete {
        #[command(flatten)]
        socket: AdminSocket,
        /// Ids of entries.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// Runs one command of the family.
///
/// # Errors
/// Why it could not be done, and with which exit code.
pub(super) async fn run(command: EntryCommand) -> Result<Outcome, CliError> {
    run_to(&mut stdout(), &mut stderr(), command).await
}

/// Runs one command, prints to `out` and warns on `err`.
async fn run_to(out: &mut impl Write, err: &mut impl Write, command: EntryCommand) -> Result<Outcome, CliError> {
    let (text, outcome) = match command {
        EntryCommand::Validate { trust_domain, files } => (validate(&files, trust_domain.as_ref())?, Outcome::Done),
        EntryCommand::Apply { socket, prune, dry_run, files } => {
            let applied = request_apply(&socket, &files, prune, dry_run).await?;
            for warning in &applied.warnings {
                writeln!(err, "warning: {}", inert_lines(warning)).map_err(CliError::output)?;
            }
            (summaries(&applied, if dry_run { " (dry run)" } else { "" }), Outcome::Done)
        }
        // 1 says "different" here: whatever kept the command from comparing must not be taken for it.
        EntryCommand::Diff { socket, prune, files } => match diff(&socket, &files, prune).await {
            Ok(text) if text.is_empty() => return Ok(Outcome::Done),
            Ok(text) => (text, Outcome::Different),
            Err(error) => return Err(error.instead_of_refused(Outcome::Usage)),
        },
        EntryCommand::List { socket, output } => (list(&socket, vec![], &output).await?, Outcome::Done),
        EntryCommand::Show { socket, output, ids } => (list(&socket, ids, &output).await?, Outcome::Done),
        EntryCommand::Delete { socket, ids } => (delete(&socket, ids).await?, Outcome::Done),
    };
    writeln!(out, "{}", text.trim_end()).map_err(CliError::output)?;
    Ok(outcome)
}

fn validate(files: &[PathBuf], trust_domain: Option<&TrustDomain>) -> Result<String, CliError> {
    let entries = sources::parse(&sources::read(files)?, trust_domain)?;
    Ok(match entries.len() {
        1 => "1 entry valid".to_owned(),
        count => format!("{count} entries valid"),
    })
}

async fn diff(socket: &AdminSocket, files: &[PathBuf], prune: bool) -> Result<String, CliError> {
    let planned = request_apply(socket, files, prune, true).await?;
    Ok(planned.changes.iter().filter_map(changes::difference).collect())
}

async fn request_apply(
    socket: &AdminSocket,
    files: &[PathBuf],
    prune: bool,
    dry_run: bool,
) -> Result<ApplyResponse, CliError> {
    let sources = sources::read(files)?;
    // The agent reads them again; it has less room to say what is wrong.
    if !Protection::Whole.is_out() {
        sources::parse(&sources, None)?;
    }
    let answer = connect(socket).await?.apply(ApplyRequest { sources, prune, dry_run }).await;
    Ok(answer.map_err(|status| CliError::from_status(&status))?.into_inner())
}

async fn list(socket: &AdminSocket, ids: Vec<String>, output: &Output) -> Result<String, CliError> {
    let answer = connect(socket).await?.list(ListRequest { ids }).await;
    let documents = answer.map_err(|status| CliError::from_status(&status))?.into_inner().entries;
    if output.is_yaml() {
        // The form in which operators keep them, so that what is listed can be applied.
        return Ok(documents.join("---\n"));
    }
    let texts: Vec<_> = documents.iter().map(|document| ("the agent's answer", document.as_str())).collect();
    let entries = parse_sources(&texts, None).map_err(|_| {
        CliError::refused("the agent's entries are of another version; use a command of the agent's version")
    })?;
    output.render(|| as_table(&entries), || Ok(entries.iter().map(json::value).collect()))
}

async fn delete(socket: &AdminSocket, ids: Vec<String>) -> Result<String, CliError> {
    let answer = connect(socket).await?.delete(DeleteRequest { ids }).await;
    Ok(summaries(&answer.map_err(|status| CliError::from_status(&status))?.into_inner(), ""))
}

/// A line for each entry, and the revision that holds now.
fn summaries(applied: &ApplyResponse, suffix: &str) -> String {
    let lines = applied.changes.iter().map(|change| changes::summary(change) + suffix + "\n");
    lines.collect::<String>() + &format!("revision {}{suffix}", applied.revision)
}

async fn connect(socket: &AdminSocket) -> Result<RegistryClient<Channel>, CliError> {
    Ok(RegistryClient::new(socket.connect().await?).max_decoding_message_size(MAX_MESSAGE_BYTES))
}

fn as_table(entries: &[Entry]) -> Result<String, CliError> {
    let heading = ["ID", "SPIFFE ID", "SELECTORS", "AUDIENCES", "DNS NAMES", "FEDERATES WITH", "EXPIRES", "OWNER"];
    let mut rows = vec![heading.map(str::to_owned)];
    for entry in entries {
        let selectors: Vec<_> = entry.selectors.iter().map(|selector| selector.to_string()).collect();
        let audiences: Vec<_> = entry.jwt.audiences.iter().collect();
        let federates_with: Vec<_> = entry.federates_with.iter().map(TrustDomain::as_str).collect();
        rows.push([
            entry.id.to_string(),
            entry.spiffe_id.to_string(),
            selectors.join(" "),
            audiences.join(" "),
            entry.x509.dns_names.join(" "),
            federates_with.join(" "),
            entry.expires.map(|day| day.to_string()).unwrap_or_default(),
            entry.owner.as_deref().unwrap_or_default().to_owned(),
        ]);
    }
    table::columns(&rows)
}
