//! The life of signing keys, as a pure schedule: prepared, active, retiring, dropped.
//!
//! ```text
//!            prepared          active                     retiring
//!  published |-------------------------------------------------------------| dropped
//!  signs                       |--------------------------|
//!            created           since                      rotation         drops_at
//! ```
//!
//! A key is published well before it signs, so that everyone can have fetched it, and
//! stays published until the last document that it signed has expired
//! (SPIFFE_Federation.md, section 4.1). One schedule serves the ring of JWT keys and that of
//! X.509 authorities, whose certificates have an end of their own: the next one takes over
//! while a document of the longest life still fits before it.
//!
//! An operator may taint a key that signs or signed: it never signs again, and what it signed is
//! to be replaced at once. To revoke it is to publish it no more. Nothing here reads a clock or
//! makes a key.

use std::time::Duration;

use countersign_common::clock::Timestamp;

use super::private_key::HeldIn;
use super::record::{KeyRecord, Make, Phase, Validity, before, last};

#[cfg(test)]
mod tests;

/// How many refresh hints ahead the next key is published (SPIFFE_Federation.md,
/// section 4.1 asks for three to five).
const HINTS_AHEAD: u32 = 5;

/// A retired key stays published this much longer than its last document can live: for a
/// signature that was under way when the key retired, and for verifiers with leeway.
pub(super) const LATE_SIGNATURE: Duration = Duration::from_secs(60);

/// What the operator decided about the keys of one ring.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// How new keys are made.
    pub(super) make: Make,
    /// Where their private halves are.
    pub(super) held_in: HeldIn,
    /// How long a key signs.
    pub(super) key_life: Duration,
    /// Longest life of what it signs.
    pub(super) max_ttl: Duration,
    /// How often others look at the bundle.
    pub(super) refresh_hint: Duration,
    /// When the certificate above new X.509 authorities ends, if there is one.
    pub(super) issuer_ends: Option<Timestamp>,
}

impl Terms {
    /// How long before its first signature a key is published.
    pub(super) fn lead(&self) -> Duration {
        self.refresh_hint.saturating_mul(HINTS_AHEAD).min(self.key_life / 2)
    }
}

/// All keys of one kind, in the order of their making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ring {
    pub(super) keys: Vec<KeyRecord>,
}

/// The next thing to do with a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The clock shows less than it did: times in the future become now.
    ClockWentBack,
    /// Make a key and publish it.
    Prepare,
    /// The prepared key signs from now on; the active one retires.
    Activate,
    /// Forget this key, and publish it no more.
    Drop(String),
}

/// The first step that is due; `None` if the ring is as it should be. After it was
/// taken, ask again: a machine that slept for days needs several.
pub(super) fn next_step(ring: &Ring, now: Timestamp, terms: &Terms) -> Option<Step> {
    if ring.keys.iter().any(|key| key.is_from_the_future(now)) {
        return Some(Step::ClockWentBack);
    }
    if let Some(gone) = ring.keys.iter().find(|key| key.is_to_be_dropped(now, terms)) {
        return Some(Step::Drop(gone.id.clone()));
    }
    let make_or_activate = if ring.prepared().is_some() { Step::Activate } else { Step::Prepare };
    // An authority whose certificate was made by a clock that was ahead cannot sign for the present.
    let rotation = ring.rotation_at(terms).filter(|_| ring.active().is_some_and(|active| active.has_begun(now)));
    match rotation {
        // A key past its time must not sign on, even if its successor was never announced.
        None => Some(make_or_activate),
        Some(rotation) if now >= rotation => Some(make_or_activate),
        Some(_) if ring.prepared().is_none() && now >= ring.preparation_at(terms) => Some(Step::Prepare),
        Some(_) => None,
    }
}

/// How long until something may be due, at most.
pub(super) fn pause(ring: &Ring, now: Timestamp, terms: &Terms) -> Option<Duration> {
    let drops = ring.keys.iter().filter_map(KeyRecord::drops_at);
    let preparation = ring.prepared().is_none().then(|| ring.preparation_at(terms));
    drops.chain(preparation).chain(ring.rotation_at(terms)).min().map(|next| now.until(next))
}

impl Ring {
    /// The key that signs.
    pub(super) fn active(&self) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| matches!(key.phase, Phase::Active { .. }))
    }

    /// The key that will sign next.
    pub(super) fn prepared(&self) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| key.phase == Phase::Prepared)
    }

    /// The key of this name.
    pub(super) fn key(&self, id: &str) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// When the active key is replaced; `None` if there is none. A key that is not what is wanted
    /// any more, or has no room left for a document of the longest life, is replaced as soon as
    /// its successor has been published long enough, and at its end in any case.
    pub(super) fn rotation_at(&self, terms: &Terms) -> Option<Timestamp> {
        let active = self.active()?;
        let end = active.must_stop_at(terms)?;
        let is_wanted = active.is_as_wanted(terms);
        let due = if is_wanted { active.fits_until(terms) } else { Timestamp::from_seconds(0) };
        Some(match self.prepared() {
            Some(prepared) => end.min(due.max(prepared.created.after(terms.lead()))),
            None if is_wanted => end.min(due),
            None => end,
        })
    }

    /// When the next key is to be published; at once if the active one is not what is wanted.
    fn preparation_at(&self, terms: &Terms) -> Timestamp {
        match (self.active(), self.rotation_at(terms)) {
            (Some(active), Some(rotation)) if active.is_as_wanted(terms) => before(rotation, terms.lead()),
            _ => Timestamp::from_seconds(0),
        }
    }

    /// How long the certificate of a key that is made now has to be valid: for its whole time, if
    /// it takes over by schedule, or not much later.
    pub(super) fn validity_of_next(&self, now: Timestamp, terms: &Terms) -> Validity {
        let takes_over = self.rotation_at(terms).unwrap_or(now).max(now);
        Validity { from: now, until: last(takes_over.after(terms.key_life).after(terms.lead()), terms.max_ttl) }
    }

    /// Takes terms over that may differ from those of the last run.
    pub(super) fn adopt(&mut self, terms: &Terms) {
        for key in &mut self.keys {
            if let Phase::Active { longest_ttl, .. } = &mut key.phase {
                *longest_ttl = terms.max_ttl.max(*longest_ttl);
            }
        }
    }

    /// Adds a key that signs nothing yet.
    pub(super) fn prepare(
        &mut self,
        id: String,
        make: Make,
        held_in: HeldIn,
        validity: Option<Validity>,
        now: Timestamp,
    ) {
        self.keys.push(KeyRecord { id, make, held_in, created: now, validity, phase: Phase::Prepared });
    }

    /// Makes the prepared key the active one, and the active one retire.
    pub(super) fn activate(&mut self, now: Timestamp, terms: &Terms) {
        for key in &mut self.keys {
            key.phase = key.stepped_on(now, terms);
        }
    }

    /// Has a key that signs or signed never sign again; `false` if it is neither.
    pub(super) fn taint(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(key) = self.keys.iter_mut().find(|key| key.id == id) else { return false };
        key.phase = match key.phase {
            Phase::Active { longest_ttl, .. } => Phase::Tainted { since: now, drops_at: last(now, longest_ttl) },
            Phase::Retiring { drops_at, .. } => Phase::Tainted { since: now, drops_at },
            Phase::Prepared | Phase::Tainted { .. } | Phase::Revoked { .. } => return false,
        };
        true
    }

    /// Publishes a key no more; `false` if it is the active one or revoked already. One that never
    /// signed is forgotten.
    pub(super) fn revoke(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(key) = self.keys.iter_mut().find(|key| key.id == id) else { return false };
        match key.phase {
            Phase::Prepared => self.drop_key(id),
            Phase::Retiring { drops_at, .. } | Phase::Tainted { drops_at, .. } => {
                key.phase = Phase::Revoked { since: now, drops_at };
            }
            Phase::Active { .. } | Phase::Revoked { .. } => return false,
        }
        true
    }

    /// Forgets a key.
    pub(super) fn drop_key(&mut self, id: &str) {
        self.keys.retain(|key| key.id != id);
    }

    /// Makes every time that lies ahead of a clock which went back the present one. A
    /// key lives on from there, rather than for as long as the clock was wrong.
    pub(super) fn rebase(&mut self, now: Timestamp) {
        self.keys.iter_mut().for_each(|key| key.rebase(now));
    }
}
