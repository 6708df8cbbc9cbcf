//! The life of signing keys, as a pure schedule: prepared, active, retiring, dropped.
//!
//! ```text
//!            prepared          active                     retiring
//!  published |-------------------------------------------------------------| dropped
//!  signs                       |--------------------------|
//!            created           since                      signs_until      drops_at
//! ```
//!
//! A key is published well before it signs, so that everyone can have fetched it, and
//! stays published until the last token that it signed has expired
//! (SPIFFE_Federation.md, section 4.1). Nothing here reads a clock or makes a key.

use std::time::Duration;

use countersign_common::clock::Timestamp;
use countersign_common::svid::jwt::Algorithm;
use serde::{Deserialize, Serialize};

/// How many refresh hints ahead the next key is published (SPIFFE_Federation.md,
/// section 4.1 asks for three to five).
const HINTS_AHEAD: u32 = 5;

/// A retired key stays published this much longer than its last token can live: for a
/// signature that was under way when the key retired, and for verifiers with leeway.
const LATE_SIGNATURE: Duration = Duration::from_secs(60);

/// What the operator decided about keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Algorithm of new keys.
    pub(super) algorithm: Algorithm,
    /// How long a key signs.
    pub(super) key_life: Duration,
    /// Longest life of a token.
    pub(super) max_jwt_ttl: Duration,
    /// How often others look at the bundle.
    pub(super) refresh_hint: Duration,
}

impl Terms {
    /// How long before its first signature a key is published.
    pub(super) fn lead(&self) -> Duration {
        self.refresh_hint.saturating_mul(HINTS_AHEAD).min(self.key_life / 2)
    }
}

/// What a key is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// Published, signs nothing yet.
    Prepared,
    /// The one that signs.
    Active {
        /// From when on.
        since: Timestamp,
        /// Longest life of any token that it may have signed, whatever the terms were.
        longest_ttl: Duration,
    },
    /// Signs no more, is still published.
    Retiring {
        /// From when on.
        since: Timestamp,
        /// When it is not published any more.
        drops_at: Timestamp,
    },
}

/// One key of the ring, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    pub(super) kid: String,
    #[serde(with = "algorithm_name")]
    pub(super) algorithm: Algorithm,
    pub(super) created: Timestamp,
    pub(super) phase: Phase,
}

/// All keys of the authority, and the sequence number of the bundle that they make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ring {
    pub(super) sequence: u64,
    pub(super) refresh_hint: Duration,
    pub(super) keys: Vec<KeyRecord>,
}

/// The next thing to do with the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The clock shows less than it did: times in the future become now.
    ClockWentBack,
    /// Make a key and publish it.
    Prepare,
    /// The prepared key signs from now on; the active one retires.
    Activate,
    /// Publish this key no more.
    Drop(String),
}

/// The first step that is due; `None` if the ring is as it should be. After it was
/// taken, ask again: a machine that slept for days needs several.
pub(super) fn next_step(ring: &Ring, now: Timestamp, terms: &Terms) -> Option<Step> {
    if ring.keys.iter().any(|key| key.is_from_the_future(now)) {
        return Some(Step::ClockWentBack);
    }
    if let Some(gone) = ring.keys.iter().find(|key| key.is_to_be_dropped(now, terms)) {
        return Some(Step::Drop(gone.kid.clone()));
    }
    let make_or_activate = if ring.prepared().is_some() { Step::Activate } else { Step::Prepare };
    match ring.rotation_at(terms) {
        // A key past its time must not sign on, even if its successor was never announced.
        None => Some(make_or_activate),
        Some(rotation) if now >= rotation => Some(make_or_activate),
        Some(_) if ring.prepared().is_none() && now >= ring.preparation_at(terms) => Some(Step::Prepare),
        Some(_) => None,
    }
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

    /// When the active key is replaced; `None` if there is none. A change of the
    /// algorithm is obeyed as soon as the new key has been published long enough.
    pub(super) fn rotation_at(&self, terms: &Terms) -> Option<Timestamp> {
        let active = self.active()?;
        let planned = active.signs_until(terms)?;
        match self.prepared() {
            Some(prepared) if active.algorithm != terms.algorithm => {
                Some(planned.min(prepared.created.after(terms.lead())))
            }
            _ => Some(planned),
        }
    }

    /// When the next key is to be published; at once if there is no active key of the right algorithm.
    fn preparation_at(&self, terms: &Terms) -> Timestamp {
        match self.active() {
            Some(KeyRecord { phase: Phase::Active { since, .. }, algorithm, .. }) if *algorithm == terms.algorithm => {
                since.after(terms.key_life.saturating_sub(terms.lead()))
            }
            _ => Timestamp::from_seconds(0),
        }
    }

    /// Takes terms over that may differ from those of the last run.
    pub(super) fn adopt(&mut self, terms: &Terms) {
        if self.refresh_hint != terms.refresh_hint {
            self.refresh_hint = terms.refresh_hint;
            self.sequence = self.sequence.saturating_add(1);
        }
        for key in &mut self.keys {
            if let Phase::Active { longest_ttl, .. } = &mut key.phase {
                *longest_ttl = terms.max_jwt_ttl.max(*longest_ttl);
            }
        }
    }

    /// Adds a key that signs nothing yet.
    pub(super) fn prepare(&mut self, kid: String, algorithm: Algorithm, now: Timestamp) {
        self.keys.push(KeyRecord { kid, algorithm, created: now, phase: Phase::Prepared });
    }

    /// Makes the prepared key the active one, and the active one retire.
    pub(super) fn activate(&mut self, now: Timestamp, terms: &Terms) {
        for key in &mut self.keys {
            key.phase = match key.phase {
                Phase::Prepared => Phase::Active { since: now, longest_ttl: terms.max_jwt_ttl },
                Phase::Active { longest_ttl, .. } => {
                    Phase::Retiring { since: now, drops_at: now.after(longest_ttl.saturating_add(LATE_SIGNATURE)) }
                }
                retiring @ Phase::Retiring { .. } => retiring,
            };
        }
    }

    /// Makes every time that lies ahead of a clock which went back the present one. A
    /// key lives on from there, rather than for as long as the clock was wrong.
    pub(super) fn rebase(&mut self, now: Timestamp) {
        for key in &mut self.keys {
            key.created = key.created.min(now);
            match &mut key.phase {
                Phase::Prepared => {}
                Phase::Active { since, .. } => *since = now.min(*since),
                Phase::Retiring { since, drops_at } if *since > now => {
                    *drops_at = now.after(since.until(*drops_at));
                    *since = now;
                }
                Phase::Retiring { .. } => {}
            }
        }
    }
}

impl KeyRecord {
    /// When the key stops signing; `None` unless it is active.
    pub(super) fn signs_until(&self, terms: &Terms) -> Option<Timestamp> {
        match self.phase {
            Phase::Active { since, .. } => Some(since.after(terms.key_life)),
            Phase::Prepared | Phase::Retiring { .. } => None,
        }
    }

    fn is_from_the_future(&self, now: Timestamp) -> bool {
        let began = match self.phase {
            Phase::Prepared => self.created,
            Phase::Active { since, .. } | Phase::Retiring { since, .. } => since.max(self.created),
        };
        began > now
    }

    /// A retiring key when its last token has expired; a prepared one of an algorithm that is not wanted any more.
    fn is_to_be_dropped(&self, now: Timestamp, terms: &Terms) -> bool {
        match self.phase {
            Phase::Prepared => self.algorithm != terms.algorithm,
            Phase::Active { .. } => false,
            Phase::Retiring { drops_at, .. } => now >= drops_at,
        }
    }
}

/// How long until something may be due, at most.
pub(super) fn pause(ring: &Ring, now: Timestamp, terms: &Terms) -> Option<Duration> {
    let drops = ring.keys.iter().filter_map(|key| match key.phase {
        Phase::Retiring { drops_at, .. } => Some(drops_at),
        Phase::Prepared | Phase::Active { .. } => None,
    });
    let preparation = ring.prepared().is_none().then(|| ring.preparation_at(terms));
    drops.chain(preparation).chain(ring.rotation_at(terms)).min().map(|next| now.until(next))
}

#[cfg(test)]
mod tests;

/// An algorithm at rest is its name.
mod algorithm_name {
    use countersign_common::svid::jwt::Algorithm;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(algorithm: &Algorithm, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(algorithm.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Algorithm, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
