//! `countersign backup` and `countersign restore`: the database, kept elsewhere and brought back.

use std::fs::Permissions;
use std::io::{Write, stdout};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use countersign_common::proto::admin::TakeBackupRequest;
use countersign_common::proto::admin::backup_client::BackupClient;
use tempfile::NamedTempFile;

use super::admin_socket::AdminSocket;
use super::outcome::{CliError, Outcome};
use crate::app;
use crate::config::Config;

pub(super) const BACKUP_EXAMPLES: &str = "\
Examples:
  countersign backup /var/backups/countersign-$(date +%F).redb

The agent goes on working. Keys in the backup are sealed: keep the sealing key as well, and
elsewhere.

Exit codes: 0 written, 1 refused or not written, 2 wrong usage, 3 no agent or not now";

pub(super) const RESTORE_EXAMPLES: &str = "\
Examples:
  systemctl stop countersign
  countersign restore --config /etc/countersign/agent.toml /var/backups/countersign-2026-11-22.redb
  systemctl start countersign

Run it as the agent's user. With --replace a database that is there is kept beside, under
another name. What was changed after the backup is lost: entries come back that were deleted
since, and keys that were revoked since are trusted again.

Exit codes: 0 restored, 1 refused and nothing changed, 2 wrong usage";

/// Arguments of `countersign backup`.
#[derive(Debug, clap::Args)]
pub(super) struct Backup {
    #[command(flatten)]
    socket: AdminSocket,
    /// The file to write; it must not exist.
    file: PathBuf,
}

/// Arguments of `countersign restore`.
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The agent's configuration: where the database is, and how its keys are sealed.
    #[arg(long, default_value = "/etc/countersign/agent.toml", value_name = "FILE")]
    config: PathBuf,
    /// Replace the database that is there.
    #[arg(long)]
    replace: bool,
    /// The backup.
    file: PathBuf,
}

impl Backup {
    /// Writes the copy under another name first: a file of the name that was asked for is whole.
    ///
    /// # Errors
    /// Why there is no backup, and with which exit code.
    pub(super) async fn run(self) -> Result<Outcome, CliError> {
        let refused = |error: std::io::Error| {
            CliError::refused(format!("cannot write the backup {}: {error}", self.file.display()))
        };
        if self.file.exists() {
            return Err(refused(std::io::ErrorKind::AlreadyExists.into()));
        }
        let directory = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        let mut unnamed = tempfile::Builder::new()
            .prefix(".countersign-backup.")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(directory)
            .map_err(refused)?;
        let bytes = self.receive(&mut unnamed).await?;
        unnamed.as_file().sync_all().map_err(refused)?;
        unnamed.persist_noclobber(&self.file).map_err(|error| refused(error.error))?;
        std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(refused)?;
        writeln!(stdout(), "{}: {bytes} bytes", self.file.display()).map_err(CliError::output)?;
        Ok(Outcome::Done)
    }

    async fn receive(&self, file: &mut NamedTempFile) -> Result<u64, CliError> {
        let of_status = |status: tonic::Status| CliError::from_status(&status);
        let mut client = BackupClient::new(self.socket.connect().await?);
        let mut parts = client.take(TakeBackupRequest {}).await.map_err(of_status)?.into_inner();
        let (mut digest, mut bytes) = (digest::Context::new(&digest::SHA256), 0);
        while let Some(message) = parts.message().await.map_err(of_status)? {
            if !message.sha256.is_empty() {
                let is_whole = digest.finish().as_ref() == message.sha256;
                return is_whole
                    .then_some(bytes)
                    .ok_or_else(|| CliError::refused("the backup is not what the agent sent; take it again"));
            }
            let written = file.write_all(&message.part);
            written.map_err(|error| {
                CliError::refused(format!("cannot write the backup {}: {error}", self.file.display()))
            })?;
            digest.update(&message.part);
            bytes += message.part.len() as u64;
        }
        Err(CliError::unreachable("the agent stopped before the backup was whole; take it again"))
    }
}

impl Restore {
    /// Restores, and says what.
    ///
    /// # Errors
    /// Why nothing was restored.
    pub(super) fn run(self) -> Result<Outcome, CliError> {
        let config = Config::load(&self.config).map_err(|error| CliError::refused(error.to_string()))?;
        let restored = app::restore(&config, &self.file, self.replace).map_err(|error| CliError::caused_by(&error))?;
        let app::Restored { database, revision, entries, kept } = restored;
        let mut text = format!("{}: {entries} entries at revision {revision}, and their keys", database.display());
        if let Some(kept) = kept {
            text.push_str(&format!("\nkept what was there: {}", kept.display()));
        }
        text.push_str("\nrevoke again what was revoked since the backup: countersign authority show");
        writeln!(stdout(), "{text}").map_err(CliError::output)?;
        Ok(Outcome::Done)
    }
}
