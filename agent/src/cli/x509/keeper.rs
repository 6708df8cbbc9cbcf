//! What was last fetched, and where it is kept: written when it is new, withdrawn when it must not be
//! used any more, and tried again where the disk did not take it.

use std::io::Write;
use std::time::Duration;

use countersign_common::clock::Timestamp;

use super::after_renewal::AfterRenewal;
use super::files::files;
use super::folder::Folder;
use super::message::Identities;
use crate::cli::outcome::CliError;

/// At most so long between two looks at the wall clock: timers do not run while a machine sleeps.
const LOOK: Duration = Duration::from_secs(30);
/// Until what the disk did not take is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(5);
/// How long a stream may be silent while nothing is held. With nothing at stake, seldom.
const IDLE: Duration = Duration::from_secs(600);

/// The keeper of one process's identities.
pub(super) struct Keeper {
    folder: Option<Folder>,
    after: AfterRenewal,
    /// What the agent last granted.
    held: Option<Identities>,
    /// Whether what is held is where it belongs.
    is_written: bool,
    /// Until when what is in use, in files or printed, may be used.
    in_use_until: Option<Timestamp>,
}

impl Keeper {
    pub(super) fn new(folder: Option<Folder>, after: AfterRenewal) -> Self {
        Self { folder, after, held: None, is_written: false, in_use_until: None }
    }

    /// What the agent last granted, if that has not expired.
    pub(super) fn held(&self) -> Option<&Identities> {
        self.held.as_ref()
    }

    /// Takes new identities over from the agent, and writes them if their files would be others.
    ///
    /// # Errors
    /// They could not be written. They are held all the same, and written at one of the next looks.
    pub(super) async fn take(&mut self, identities: Identities) -> Result<(), CliError> {
        let is_known = self.held.as_ref().is_some_and(|held| held.has_files_of(&identities));
        self.held = Some(identities);
        if self.is_written && is_known {
            return Ok(());
        }
        self.is_written = false;
        self.write().await
    }

    /// The agent grants them no longer.
    pub(super) async fn withdraw(&mut self) {
        self.held = None;
        self.in_use_until = self.in_use_until.map(|_| Timestamp::from_seconds(0));
        self.look(Timestamp::from_seconds(1)).await;
    }

    /// Does what time brings: withdraws what has expired, and writes what is not written yet.
    /// Whether something expired just now.
    pub(super) async fn look(&mut self, now: Timestamp) -> bool {
        let has_expired = self.in_use_until.is_some_and(|until| until < now);
        if has_expired {
            match self.folder.as_ref().map_or(Ok(()), Folder::withdraw) {
                Ok(()) => self.in_use_until = None,
                Err(error) => report(error),
            }
        }
        if self.held.as_ref().and_then(|held| held.svids.first()).is_some_and(|svid| svid.leaf.not_after < now) {
            self.held = None;
        }
        if self.held.is_some() && !self.is_written {
            self.write().await.unwrap_or_else(report);
        }
        has_expired && self.in_use_until.is_none()
    }

    /// How long until the next look.
    pub(super) fn until_look(&self, now: Timestamp) -> Duration {
        let is_behind = self.held.is_some() && !self.is_written;
        let limit = if is_behind { WRITE_AGAIN } else { LOOK };
        match self.in_use_until {
            Some(until) if until < now => WRITE_AGAIN,
            Some(until) => limit.min(now.until(until).saturating_add(Duration::from_secs(1))),
            None => limit,
        }
    }

    /// How long the stream may be silent: with three quarters of what was left gone and no renewal,
    /// it is asked anew.
    pub(super) fn patience(&self, now: Timestamp) -> Duration {
        self.in_use_until.map_or(IDLE, |until| (now.until(until) / 4 * 3).max(LOOK))
    }

    async fn write(&mut self) -> Result<(), CliError> {
        let Some(held) = &self.held else { return Ok(()) };
        let until = held.svids.first().map(|svid| svid.leaf.not_after);
        let Some(folder) = &self.folder else {
            (self.is_written, self.in_use_until) = (true, until);
            return Ok(());
        };
        let (files, too_long) = files(held);
        let replaced = folder.replace(&files)?;
        for id in &held.unreadable {
            report(format!("the bundle of {id} is left out: it cannot be read"));
        }
        for domain in too_long {
            report(format!("the bundle of {domain} is left out: the name is too long for a file"));
        }
        folder.remove_old().unwrap_or_else(report);
        (self.is_written, self.in_use_until) = (true, until);
        if replaced {
            self.after.tell().await.into_iter().for_each(report);
        }
        Ok(())
    }
}

/// Says on standard error what is no reason to stop. If nobody reads there, the work goes on.
pub(super) fn report(what: impl std::fmt::Display) {
    let text = what.to_string();
    let _ = writeln!(std::io::stderr(), "countersign: {}", countersign_common::untrusted::inert_lines(&text));
}

#[cfg(test)]
mod tests;
