//! One key of a ring, without the key itself: what it is, what it does, and until when.

use std::time::Duration;

use countersign_common::clock::Timestamp;
use countersign_common::svid::jwt::Algorithm;
use serde::{Deserialize, Serialize};

use super::life::{LATE_SIGNATURE, Terms};
use super::private_key::HeldIn;

/// How a key is made. The schedule asks only whether that is how new ones are to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Make {
    /// A JWT key of this algorithm.
    Jwt(#[serde(with = "algorithm_name")] Algorithm),
    /// An X.509 authority that signed its own certificate.
    SelfSigned,
    /// An X.509 authority under an upstream root; each is named by the SHA-256 digest of its
    /// certificate in hexadecimal.
    Under {
        /// Who signed its certificate.
        issuer: String,
        /// The root above, which stands in the bundle for it.
        root: String,
    },
}

/// From when until when a certificate is valid, both included (RFC 5280, section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
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
        /// Longest life of any document that it may have signed, whatever the terms were.
        longest_ttl: Duration,
    },
    /// Signs no more, is still published.
    Retiring {
        /// From when on.
        since: Timestamp,
        /// When it is not published any more.
        drops_at: Timestamp,
    },
    /// As retiring, and what it signed is to be replaced now.
    Tainted {
        /// From when on.
        since: Timestamp,
        /// When it is not published any more.
        drops_at: Timestamp,
    },
    /// Not published any more. Its name is kept for as long as holders may have what it signed.
    Revoked {
        /// From when on.
        since: Timestamp,
        /// When its name is forgotten.
        drops_at: Timestamp,
    },
}

/// One key of a ring, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    /// A JWT key's `kid`; the subject key id of an X.509 authority.
    pub(super) id: String,
    pub(super) make: Make,
    /// Where its private half is.
    #[serde(default, skip_serializing_if = "HeldIn::is_state")]
    pub(super) held_in: HeldIn,
    pub(super) created: Timestamp,
    /// Of its certificate, if it has one. Without, it ends when the terms say.
    pub(super) validity: Option<Validity>,
    pub(super) phase: Phase,
}

impl KeyRecord {
    /// What stands in the bundle for it, by name: itself, or the root above it; `None` if it was revoked.
    pub(super) fn published(&self) -> Option<&str> {
        match (&self.phase, &self.make) {
            (Phase::Revoked { .. }, _) => None,
            (_, Make::Under { root, .. }) => Some(root),
            (_, Make::Jwt(_) | Make::SelfSigned) => Some(&self.id),
        }
    }

    /// Whether it is as new ones are to be: made so, and kept there.
    pub(super) fn is_as_wanted(&self, terms: &Terms) -> bool {
        self.make == terms.make && self.held_in == terms.held_in
    }

    /// When it has to stop signing, successor or not; `None` unless it is active.
    pub(super) fn must_stop_at(&self, terms: &Terms) -> Option<Timestamp> {
        let Phase::Active { since, .. } = self.phase else { return None };
        let planned = since.after(terms.key_life);
        Some(self.validity.map_or(planned, |validity| planned.min(validity.until)))
    }

    /// Until when a document of the longest life fits before its certificate's end.
    pub(super) fn fits_until(&self, terms: &Terms) -> Timestamp {
        match self.validity {
            None => Timestamp::from_seconds(u64::MAX),
            // It ends with the certificate above it: so would its successor.
            Some(validity) if terms.issuer_ends.is_some_and(|ends| ends <= validity.until) => validity.until,
            Some(validity) => before(validity.until, terms.max_ttl),
        }
    }

    /// What it signs from `since` on is never valid after this time.
    pub(super) fn ends(&self, since: Timestamp, terms: &Terms) -> Timestamp {
        let planned = since.after(terms.key_life).after(terms.max_ttl);
        self.validity.map_or(planned, |validity| planned.min(validity.until))
    }

    /// Whether its certificate, if it has one, has begun.
    pub(super) fn has_begun(&self, now: Timestamp) -> bool {
        self.validity.is_none_or(|validity| validity.from <= now)
    }

    pub(super) fn is_from_the_future(&self, now: Timestamp) -> bool {
        let began = match self.phase {
            Phase::Prepared => self.created,
            Phase::Active { since, .. }
            | Phase::Retiring { since, .. }
            | Phase::Tainted { since, .. }
            | Phase::Revoked { since, .. } => since.max(self.created),
        };
        began > now
    }

    /// When nothing that it signed is valid any more; `None` while it signs or will sign.
    pub(super) fn drops_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Prepared | Phase::Active { .. } => None,
            Phase::Retiring { drops_at, .. } | Phase::Tainted { drops_at, .. } | Phase::Revoked { drops_at, .. } => {
                Some(drops_at)
            }
        }
    }

    /// A key that is done, when its last document has expired; a prepared one that is not what is
    /// wanted any more, or has no time in which to sign.
    pub(super) fn is_to_be_dropped(&self, now: Timestamp, terms: &Terms) -> bool {
        match self.phase {
            Phase::Prepared => !self.is_as_wanted(terms) || !self.has_begun(now) || self.fits_until(terms) <= now,
            _ => self.drops_at().is_some_and(|drops_at| drops_at <= now),
        }
    }

    /// What becomes of it when its successor takes over.
    pub(super) fn stepped_on(&self, now: Timestamp, terms: &Terms) -> Phase {
        match self.phase {
            Phase::Prepared => Phase::Active { since: now, longest_ttl: terms.max_ttl },
            Phase::Active { longest_ttl, .. } => Phase::Retiring { since: now, drops_at: last(now, longest_ttl) },
            done => done,
        }
    }

    /// Makes each time that lies ahead of a clock which went back the present one.
    pub(super) fn rebase(&mut self, now: Timestamp) {
        self.created = self.created.min(now);
        match &mut self.phase {
            Phase::Prepared => {}
            Phase::Active { since, .. } => *since = now.min(*since),
            Phase::Retiring { since, drops_at }
            | Phase::Tainted { since, drops_at }
            | Phase::Revoked { since, drops_at } => {
                if *since > now {
                    *drops_at = now.after(since.until(*drops_at));
                    *since = now;
                }
            }
        }
    }
}

/// When the last document of a key that stops signing at `now` has expired.
pub(super) fn last(now: Timestamp, longest_ttl: Duration) -> Timestamp {
    now.after(longest_ttl.saturating_add(LATE_SIGNATURE))
}

/// This much before `at`; not before 1970.
pub(super) fn before(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_seconds(at.seconds().saturating_sub(by.as_secs()))
}

/// An algorithm at rest is its name.
pub(super) mod algorithm_name {
    use countersign_common::svid::jwt::Algorithm;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(algorithm: &Algorithm, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(algorithm.name())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Algorithm, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
