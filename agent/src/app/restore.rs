//! `countersign restore`, wired: a backup becomes the database of a configuration.

use std::path::{Path, PathBuf};

use countersign_common::clock::Clock;

use super::agent::{STORE_FILE, sealing_key, token};
use super::{AppError, SystemClock};
use crate::authority::embedded;
use crate::config::Config;
use crate::store::Restoring;

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Where the database is.
    pub database: PathBuf,
    /// The revision of its entries.
    pub revision: u64,
    /// How many entries it has.
    pub entries: usize,
    /// Where the database lies that was there before.
    pub kept: Option<PathBuf>,
}

/// Puts a backup in the place of the configuration's database. Blocks.
///
/// # Errors
/// The backup or its keys cannot be used with this configuration, or the place is taken; nothing
/// was changed then.
pub fn restore(config: &Config, backup: &Path, replace: bool) -> Result<Restored, AppError> {
    super::forbid_core_dumps()?;
    let (sealing_key, token) = (sealing_key(config)?, token(config)?);
    let database = config.data_dir.join(STORE_FILE);
    let restoring = Restoring::read(backup, &database, &config.trust_domain)?;
    if let Some(sealed) = restoring.authority_state()? {
        let now = SystemClock.now();
        let state = embedded::restored_state(&sealed, &sealing_key, &config.trust_domain, token.as_ref(), now);
        let state = state.map_err(|source| AppError::Database { path: backup.to_owned(), source })?;
        restoring.save_authority_state(&state)?;
    }
    let (revision, entries) = (restoring.entries().revision, restoring.entries().entries.len());
    let kept = restoring.place(replace)?;
    Ok(Restored { database, revision, entries, kept })
}
