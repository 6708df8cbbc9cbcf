//! `countersign dev`: authority, entries file and Workload API in one process.

use std::io::{Write, stdout};
use std::path::PathBuf;

use countersign_common::spiffe_id::TrustDomain;

use super::outcome::{CliError, Outcome};
use crate::app::{self, DevOptions, DevReady};
use crate::telemetry;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign dev                            makes an example entry for this very binary
  countersign dev --entries entries.yaml     your own entries; a saved change applies at once

Keys and tokens are in memory only and gone when it stops (Ctrl-C). Unlike `countersign agent` it asks
neither whether a program is traced or may be written by its own user, nor what else it runs.
Exit codes: 0 stopped as asked, 1 cannot run, 2 wrong usage";

/// Arguments of `countersign dev`.
#[derive(Debug, clap::Args)]
pub(super) struct Dev {
    /// Registration entries (YAML); watched. Without it, an example is written into the folder.
    #[arg(long, value_name = "FILE")]
    entries: Option<PathBuf>,
    /// The trust domain.
    #[arg(long, default_value = "dev.example", value_name = "NAME")]
    trust_domain: TrustDomain,
    /// Folder for the sockets and the example; by default one of your own below
    /// $XDG_RUNTIME_DIR, or else below the directory for temporary files.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What to log beside the decisions, such as info or countersign=debug.
    #[arg(long, default_value = "warn,countersign::entries=info", value_name = "FILTER")]
    log: String,
}

impl Dev {
    pub(super) async fn run(self) -> Result<Outcome, CliError> {
        telemetry::init(&self.log, telemetry::Format::Text).map_err(|error| CliError::usage(error.to_string()))?;
        let options = DevOptions { entries: self.entries, trust_domain: self.trust_domain, dir: self.dir };
        let told =
            |ready: &DevReady| tell(ready).unwrap_or_else(|error| tracing::warn!(%error, "standard output is closed"));
        Box::pin(app::run_dev(options, told)).await.map_err(|error| CliError::caused_by(&error))?;
        Ok(Outcome::Done)
    }
}

/// What a newcomer needs to go on.
fn tell(ready: &DevReady) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "Countersign is running for trust domain {}. Keys are in memory only.", ready.trust_domain)?;
    writeln!(out)?;
    writeln!(out, "Entries, from {} (edit and save it to change them):", ready.entries_file.display())?;
    if ready.entries.is_empty() {
        writeln!(out, "  none yet, so nobody is entitled to anything")?;
    }
    for entry in &ready.entries {
        let selectors: Vec<_> = entry.selectors.iter().map(|selector| selector.to_string()).collect();
        let audiences: Vec<_> = entry.jwt.audiences.iter().collect();
        writeln!(out, "  {}  {}", entry.id, entry.spiffe_id)?;
        writeln!(out, "      for a process with  {}", selectors.join("  "))?;
        let audiences = if audiences.is_empty() { "none, so no tokens".to_owned() } else { audiences.join("  ") };
        writeln!(out, "      audiences           {audiences}")?;
    }
    let lifted: Vec<_> = ready.lifted.iter().map(|rule| rule.word()).collect();
    writeln!(out, "Not asked here, unlike by `countersign agent`: {}.", lifted.join(", "))?;
    writeln!(out)?;
    writeln!(out, "In another terminal:")?;
    writeln!(out, "  export SPIFFE_ENDPOINT_SOCKET=unix://{}", ready.workload_socket.display())?;
    writeln!(out, "  export COUNTERSIGN_ADMIN_SOCKET={}", ready.admin_socket.display())?;
    if let Some(example) = &ready.example {
        writeln!(out, "  {} jwt fetch --audience {}", example.program.display(), example.audience)?;
    }
    writeln!(out)?;
    writeln!(out, "Each decision is one line from here on. Ctrl-C stops.")?;
    out.flush()
}
