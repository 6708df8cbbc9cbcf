//! What processes were found to be a moment ago, for their next connections and for their open streams.
//!
//! Each connection has its own proof, and its own evidence at its first request. What was found out about the very same
//! running program less than [`LOOK_AGE`] ago is not asked again for it; and streams that look again all
//! at once, most of them of few processes, share their glances as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::attestation::{Attestation, Found};
use super::kept::{Glances, Kept, LOOK_AGE};
use crate::peer::{Evidence, Fingerprint};

/// How many processes are remembered; while there are as many, others are asked everything.
const MAX_PROCESSES: usize = 1024;

/// Processes by their pid, which says little: what is remembered is used for the same program only.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    processes: HashMap<i32, Arc<Kept>>,
    /// When those were forgotten last that are of no use any more.
    swept: Option<Instant>,
}

impl Recent {
    /// What was found out about the program that this evidence is about.
    pub(super) fn of(&self, evidence: &Evidence, now: Instant) -> Option<Arc<Found>> {
        self.known(evidence.fingerprint())?.found_of(evidence.fingerprint(), now).cloned()
    }

    /// What is known under the pid of this process.
    pub(super) fn known(&self, process: &Fingerprint) -> Option<Arc<Kept>> {
        self.lock().processes.get(&process.peer().pid()).cloned()
    }

    /// Remembers an attestation in which every question had its answer, and forgets those that are too old: what they
    /// hold for glances are descriptors, of processes that may be gone.
    pub(super) fn remember(&self, attestation: &Attestation, glances: &Arc<Glances>, now: Instant) {
        let Some(kept) = Kept::of(attestation, glances).map(Arc::new) else { return };
        let mut known = self.lock();
        let mut forgotten = known.sweep(now);
        if known.processes.len() < MAX_PROCESSES {
            forgotten.extend(known.processes.insert(attestation.instance().pid, kept));
        }
        // What they held is closed after the lock is given back.
        drop(known);
        drop(forgotten);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Takes out what is of no use any more; looks for it once in [`LOOK_AGE`].
    fn sweep(&mut self, now: Instant) -> Vec<Arc<Kept>> {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < LOOK_AGE) {
            return Vec::new();
        }
        self.swept = Some(now);
        self.processes.extract_if(|_, kept| !kept.is_recent(now)).map(|(_, kept)| kept).collect()
    }
}
