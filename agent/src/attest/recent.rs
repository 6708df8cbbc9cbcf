//! What processes were found to be a moment ago, for their next connections and for their open streams.
//!
//! Each connection has its own proof, and its own evidence at its first request. What was found out about the very same
//! running program less than [`LOOK_AGE`](super::LOOK_AGE) ago is not asked again for it; and streams that look again all
//! at once, most of them of few processes, share their glances as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::attestation::{Attestation, Found};
use super::kept::{Glances, Kept};
use crate::peer::{Evidence, Fingerprint};

/// How many processes are remembered; while there are as many, others are asked everything.
const MAX_PROCESSES: usize = 1024;

/// Processes by their pid, which says little: what is remembered is used for the same program only.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<HashMap<i32, Arc<Kept>>>);

impl Recent {
    /// What was found out about the program that this evidence is about.
    pub(super) fn of(&self, evidence: &Evidence, now: Instant) -> Option<Arc<Found>> {
        self.known(evidence.fingerprint())?.found_of(evidence.fingerprint(), now).cloned()
    }

    /// What is known under the pid of this process.
    pub(super) fn known(&self, process: &Fingerprint) -> Option<Arc<Kept>> {
        self.lock().get(&process.peer().pid()).cloned()
    }

    /// Remembers an attestation in which every question had its answer.
    pub(super) fn remember(&self, attestation: &Attestation, glances: &Arc<Glances>, now: Instant) {
        let Some(kept) = Kept::of(attestation, glances).map(Arc::new) else { return };
        let mut known = self.lock();
        if known.len() >= MAX_PROCESSES {
            known.retain(|_, kept| kept.is_recent(now));
        }
        let before = if known.len() < MAX_PROCESSES { known.insert(attestation.instance().pid, kept) } else { None };
        // What it held is closed after the lock is given back.
        drop(known);
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Arc<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
