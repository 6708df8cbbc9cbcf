//! What a connection was attested as, kept for its next request, and for the streams of the same process.
//!
//! A workload that asks again and again is the same process most of the time, and asking everything about it each time
//! costs many times what its answer costs. So an attestation is used again for a short while, as long as a glance
//! at each request says that the process lives and runs the same program out of the same file under the same ids.
//! What a glance leaves out is read again every [`READ_AGE`]; what takes questions to file systems and daemons, the
//! rules about the image among them, is asked again every [`LOOK_AGE`]. Both are a small part of the time for which the
//! token that the process already holds is good.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::attestation::{Attestation, Found};
use super::{AttestError, Attestors};
use crate::peer::{Fingerprint, Glance, RememberedFingerprint};

/// How old the facts of the kernel may be that a glance leaves out: supplementary groups, privileges, tracer, cgroups.
pub const READ_AGE: Duration = Duration::from_millis(100);

/// How old that may be which takes questions to file systems and daemons.
pub const LOOK_AGE: Duration = Duration::from_secs(1);

/// How many processes are held for glances at a time; the one that was taken first makes room. Each costs two
/// descriptors. Those without one are read whole.
pub(super) const MAX_GLANCES: usize = 128;

/// An attestation, to be used again on the same connection, or on another one of the same process.
#[derive(Debug)]
pub struct Kept {
    process: RememberedFingerprint,
    found: Arc<Found>,
    glances: Arc<Glances>,
    last: Mutex<Last>,
}

/// The last reading of all facts, and what later glances look at.
#[derive(Debug)]
struct Last {
    read: Instant,
    glance: Weak<Glance>,
}

/// The processes that are held for glances.
#[derive(Debug, Default)]
pub(super) struct Glances(pub(super) Mutex<VecDeque<Arc<Glance>>>);

impl Attestors {
    /// Makes of an attestation what may be kept with its connection; nothing if a question was left without an answer.
    pub fn keep(&self, attestation: &Attestation) -> Option<Kept> {
        Kept::of(attestation, &self.glances)
    }
}

impl Kept {
    pub(super) fn of(attestation: &Attestation, glances: &Arc<Glances>) -> Option<Self> {
        attestation.is_complete().then(|| Self {
            process: attestation.fingerprint().remembered(),
            found: Arc::clone(attestation.found()),
            glances: Arc::clone(glances),
            last: Mutex::new(Last { read: attestation.read(), glance: Weak::new() }),
        })
    }

    /// The attestation, if it holds still; nothing if it is too old, and the process is to be attested anew.
    ///
    /// # Errors
    /// The process is gone, or is no longer what was attested.
    pub fn again(&self, now: Instant) -> Result<Option<Attestation>, AttestError> {
        let Some(process) = self.process.again() else { return Ok(None) };
        self.again_of(process, now)
    }

    /// The same for another connection of the same process, by what was attested on that one. A glance is at a process
    /// that lives, and so does the one that is answered: two that live and have one pid are one.
    ///
    /// # Errors
    /// The process is gone, or is no longer what was attested.
    pub(super) fn again_on(&self, process: &Fingerprint, now: Instant) -> Result<Option<Attestation>, AttestError> {
        if process.is_of_same_program(&self.process) { self.again_of(process.clone(), now) } else { Ok(None) }
    }

    fn again_of(&self, process: Fingerprint, now: Instant) -> Result<Option<Attestation>, AttestError> {
        if !self.found.is_recent(now) || !process.is_proven() {
            return Ok(None);
        }
        let mut last = self.last();
        let is_recent = now.duration_since(last.read) < READ_AGE;
        let glance = last.glance.upgrade().filter(|_| is_recent);
        if !glance.is_some_and(|glance| process.is_seen_by(&glance)) {
            // Says what is different, if anything is.
            match last.glance.upgrade() {
                Some(_) => process.recheck()?,
                None => last.glance = process.hold()?.map_or_else(Weak::new, |glance| self.glances.hold(glance)),
            }
            last.read = now;
        }
        Ok(Some(Attestation::again(process, last.read, Arc::clone(&self.found))))
    }

    /// What was found out, if it is recent and about the program that this is.
    pub(super) fn found_of(&self, process: &Fingerprint, now: Instant) -> Option<&Arc<Found>> {
        (self.found.is_recent(now) && process.is_of_same_program(&self.process)).then_some(&self.found)
    }

    pub(super) fn is_recent(&self, now: Instant) -> bool {
        self.found.is_recent(now)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.glances.release(&self.last().glance);
    }
}

impl Glances {
    fn hold(&self, glance: Glance) -> Weak<Glance> {
        let glance = Arc::new(glance);
        let held = Arc::downgrade(&glance);
        let mut all = self.lock();
        // Closed after the lock is given back.
        let oldest = if all.len() == MAX_GLANCES { all.pop_front() } else { None };
        all.push_back(glance);
        drop(all);
        drop(oldest);
        held
    }

    fn release(&self, glance: &Weak<Glance>) {
        let mut all = self.lock();
        let found = all.iter().position(|held| std::ptr::eq(Arc::as_ptr(held), glance.as_ptr()));
        let released = found.and_then(|found| all.remove(found));
        drop(all);
        drop(released);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Glance>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
