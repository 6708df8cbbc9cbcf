//! `countersign entry`: registration entries, kept by operators as reviewed files.

mod changes;
mod sources;

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Subcommand;
use countersign_common::entry::{Entry, parse_sources};
use countersign_common::proto::admin::registry_client::RegistryClient;
use countersign_common::proto::admin::{ApplyRequest, DeleteRequest, ListRequest};
use countersign_common::spiffe_id::TrustDomain;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::admin_socket::AdminSocket;
use super::outcome::{CliError, Outcome};
use super::output::Output;
use super::table;

const EXAMPLES: &str = "\
Examples:
  countersign entry validate entries.yaml         no agent needed
  countersign entry diff entries.yaml             what would change; exit code 1 if something
  countersign entry apply entries.yaml            one transaction
  countersign entry apply --prune entries.yaml    and delete what is not in the file
  countersign entry list -o yaml > entries.yaml
  countersign entry delete orders-api

Exit codes: 0 done, 1 refused or different, 2 wrong usage, 3 no agent or not now";

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
    match command {
        EntryCommand::Validate { trust_domain, files } => validate(&files, trust_domain.as_ref()),
        EntryCommand::Apply { socket, prune, dry_run, files } => apply(&socket, &files, prune, dry_run).await,
        EntryCommand::Diff { socket, prune, files } => diff(&socket, &files, prune).await,
        EntryCommand::List { socket, output } => list(&socket, vec![], &output).await,
        EntryCommand::Show { socket, output, ids } => list(&socket, ids, &output).await,
        EntryCommand::Delete { socket, ids } => delete(&socket, ids).await,
    }
}

fn validate(files: &[PathBuf], trust_domain: Option<&TrustDomain>) -> Result<Outcome, CliError> {
    let sources = sources::read(files)?;
    let texts: Vec<_> = sources.iter().map(|source| (source.name.as_str(), source.text.as_str())).collect();
    let entries = parse_sources(&texts, trust_domain).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        CliError::refused(format!("{} wrong:\n{}", counted(lines.len(), "thing"), lines.join("\n")))
    })?;
    print(&format!("{} valid", counted(entries.len(), "entry")))
}

async fn apply(socket: &AdminSocket, files: &[PathBuf], prune: bool, dry_run: bool) -> Result<Outcome, CliError> {
    let request = ApplyRequest { sources: sources::read(files)?, prune, dry_run };
    let answer = connect(socket).await?.apply(request).await.map_err(|status| CliError::from_status(&status))?;
    let applied = answer.into_inner();
    let suffix = if dry_run { " (dry run)" } else { "" };
    let mut lines: Vec<_> = applied.changes.iter().map(|change| changes::summary(change) + suffix).collect();
    lines.push(format!("revision {}{suffix}", applied.revision));
    print(&lines.join("\n"))
}

async fn diff(socket: &AdminSocket, files: &[PathBuf], prune: bool) -> Result<Outcome, CliError> {
    let request = ApplyRequest { sources: sources::read(files)?, prune, dry_run: true };
    let answer = connect(socket).await?.apply(request).await.map_err(|status| CliError::from_status(&status))?;
    let different = answer.into_inner().changes.iter().filter_map(changes::difference).collect::<String>();
    if different.is_empty() {
        return Ok(Outcome::Done);
    }
    print(different.trim_end())?;
    Ok(Outcome::Different)
}

async fn list(socket: &AdminSocket, ids: Vec<String>, output: &Output) -> Result<Outcome, CliError> {
    let answer =
        connect(socket).await?.list(ListRequest { ids }).await.map_err(|status| CliError::from_status(&status))?;
    let documents = answer.into_inner().entries;
    if output.is_yaml() {
        // The form in which operators keep them, so that what is listed can be applied.
        return print(&documents.join("---\n"));
    }
    let texts: Vec<_> = documents.iter().map(|document| ("the agent's answer", document.as_str())).collect();
    let entries = parse_sources(&texts, None).map_err(|_| {
        CliError::refused("the agent's entries are of another version; use a command of the agent's version")
    })?;
    print(&output.render(|| as_table(&entries), || Ok(entries.iter().map(as_value).collect()))?)
}

async fn delete(socket: &AdminSocket, ids: Vec<String>) -> Result<Outcome, CliError> {
    let answer =
        connect(socket).await?.delete(DeleteRequest { ids }).await.map_err(|status| CliError::from_status(&status))?;
    let applied = answer.into_inner();
    let mut lines: Vec<_> = applied.changes.iter().map(changes::summary).collect();
    lines.push(format!("revision {}", applied.revision));
    print(&lines.join("\n"))
}

async fn connect(socket: &AdminSocket) -> Result<RegistryClient<Channel>, CliError> {
    Ok(RegistryClient::new(socket.connect().await?).max_decoding_message_size(usize::MAX))
}

fn as_table(entries: &[Entry]) -> Result<String, CliError> {
    let mut rows = vec![["ID", "SPIFFE ID", "SELECTORS", "AUDIENCES", "EXPIRES", "OWNER"].map(str::to_owned)];
    for entry in entries {
        let selectors: Vec<_> = entry.selectors.iter().map(ToString::to_string).collect();
        let audiences: Vec<_> = entry.jwt.audiences.iter().map(|pattern| pattern.as_str()).collect();
        rows.push([
            entry.id.to_string(),
            entry.spiffe_id.to_string(),
            selectors.join(" "),
            audiences.join(" "),
            entry.expires.map(|day| day.to_string()).unwrap_or_default(),
            entry.owner.clone().unwrap_or_default(),
        ]);
    }
    table::columns(&rows)
}

fn as_value(entry: &Entry) -> Value {
    let seconds = |life: std::time::Duration| format!("{}s", life.as_secs());
    let lives =
        entry.jwt.audience_ttl.iter().map(|(pattern, life)| (pattern.as_str().to_owned(), json!(seconds(*life))));
    json!({
        "id": entry.id.as_str(),
        "spiffe_id": entry.spiffe_id.as_str(),
        "selectors": entry.selectors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "jwt": {
            "audiences": entry.jwt.audiences.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>(),
            "max_audiences": entry.jwt.max_audiences,
            "ttl": entry.jwt.ttl.map(seconds),
            "audience_ttl": lives.collect::<serde_json::Map<_, _>>(),
        },
        "hint": entry.hint,
        "owner": entry.owner,
        "review_by": entry.review_by.map(|day| day.to_string()),
        "expires": entry.expires.map(|day| day.to_string()),
    })
}

fn counted(count: usize, what: &str) -> String {
    match (count, what) {
        (1, _) => format!("1 {what}"),
        (_, "entry") => format!("{count} entries"),
        _ => format!("{count} {what}s"),
    }
}

fn print(text: &str) -> Result<Outcome, CliError> {
    writeln!(stdout(), "{}", text.trim_end()).map_err(CliError::output)?;
    Ok(Outcome::Done)
}
