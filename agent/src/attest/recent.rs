//! What processes were found to be a moment ago, for their next connections.
//!
//! Each connection has its own evidence and its own proof. What was found out about the very same running program less
//! than [`LOOK_AGE`](super::LOOK_AGE) ago is not asked again for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::attestation::{Attestation, Found};
use crate::peer::{Evidence, RememberedFingerprint};

/// How many processes are remembered; while there are as many, others are asked everything.
const MAX_PROCESSES: usize = 1024;

/// Processes by their pid, which says little: what is remembered is used for the same program only.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<HashMap<i32, Known>>);

#[derive(Debug)]
struct Known {
    process: RememberedFingerprint,
    found: Arc<Found>,
}

impl Recent {
    /// What was found out about the program that this evidence is about.
    pub(super) fn of(&self, evidence: &Evidence, now: Instant) -> Option<Arc<Found>> {
        let known = self.lock();
        let Known { process, found } = known.get(&evidence.instance().pid)?;
        let is_same = found.is_recent(now) && evidence.fingerprint().is_of_same_program(process);
        is_same.then(|| Arc::clone(found))
    }

    /// Remembers an attestation in which every question had its answer.
    pub(super) fn remember(&self, attestation: &Attestation, now: Instant) {
        if !attestation.is_complete() {
            return;
        }
        let (process, found) = (attestation.fingerprint().remembered(), Arc::clone(attestation.found()));
        let mut known = self.lock();
        if known.len() >= MAX_PROCESSES {
            known.retain(|_, Known { found, .. }| found.is_recent(now));
        }
        if known.len() < MAX_PROCESSES {
            known.insert(attestation.instance().pid, Known { process, found });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
