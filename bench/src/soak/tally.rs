//! What has happened so far, counted by everybody who does something.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

/// How many errors are kept as text; all are counted.
const KEPT: usize = 100;

/// A count.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

/// The counts of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tally {
    /// Processes that were started.
    pub(super) processes: Count,
    /// Of them, killed in the middle of something.
    pub(super) killed: Count,
    /// JWT-SVIDs that were fetched.
    pub(super) tokens: Count,
    /// Validations, of good tokens and of others.
    pub(super) validations: Count,
    /// X509-SVIDs that came, first ones and renewed ones.
    pub(super) x509_svids: Count,
    /// Refusals of what nobody was entitled to.
    pub(super) refusals: Count,
    /// Changes of entries.
    pub(super) entries: Count,
    /// Times that new keys became the ones that sign.
    pub(super) rotations: Count,
    /// Times that an authority was tainted.
    pub(super) taints: Count,
    /// Ends of the agent.
    pub(super) restarts: Count,
    /// Clients that misbehaved on purpose.
    pub(super) faults: Count,
    /// Steps that a restart interrupted; they were taken again.
    pub(super) interrupted: Count,
    /// What must not happen.
    pub(super) errors: Errors,
}

/// Errors, the first of them with their text.
#[derive(Debug, Default, Serialize)]
pub(super) struct Errors {
    count: Count,
    first: Mutex<Vec<String>>,
}

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

impl Errors {
    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }

    /// The first of them.
    pub(super) fn first(&self) -> Vec<String> {
        self.first.lock().map(|first| first.clone()).unwrap_or_default()
    }
}

impl Tally {
    /// Something that must not happen did.
    pub(super) fn error(&self, what: String) {
        self.errors.count.add(1);
        if let Ok(mut first) = self.errors.first.lock()
            && first.len() < KEPT
        {
            first.push(what);
        }
    }

    /// All of it in a line.
    pub(super) fn line(&self) -> String {
        format!(
            "{} processes ({} killed), {} tokens, {} validations, {} X509-SVIDs, {} due refusals, {} changes of \
             entries, {} rotations, {} taints, {} restarts, {} faults, {} steps interrupted, {} errors",
            self.processes.get(),
            self.killed.get(),
            self.tokens.get(),
            self.validations.get(),
            self.x509_svids.get(),
            self.refusals.get(),
            self.entries.get(),
            self.rotations.get(),
            self.taints.get(),
            self.restarts.get(),
            self.faults.get(),
            self.interrupted.get(),
            self.errors.count(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_all_counted_and_the_first_ones_kept() {
        let tally = Tally::default();
        for number in 0..2 * KEPT {
            tally.error(number.to_string());
        }
        assert_eq!((tally.errors.count(), tally.errors.first().len()), (200, KEPT));
        assert!(tally.line().ends_with("200 errors"));
    }
}
