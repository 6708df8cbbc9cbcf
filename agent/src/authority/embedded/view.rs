//! What operators see of the authority: no key material.

use countersign_common::clock::Timestamp;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::Algorithm;

use super::life::{Phase, Ring, Terms};

/// The authority as of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityView {
    /// Whose authority it is.
    pub trust_domain: TrustDomain,
    /// Sequence number of the bundle.
    pub sequence: u64,
    /// Every published key, in the order of their making.
    pub keys: Vec<KeyView>,
    /// When the next key becomes the active one, by schedule; `None` while no key is active.
    pub next_rotation_at: Option<Timestamp>,
}

/// One published key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its name.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// What it is doing.
    pub state: KeyState,
    /// When it was made.
    pub created: Timestamp,
    /// When it began, or by schedule begins, to sign.
    pub activates: Timestamp,
    /// No signature of it is valid after this time; by schedule, if it is prepared.
    pub ends: Timestamp,
}

/// What a key is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, signs nothing yet.
    Prepared,
    /// The one that signs.
    Active,
    /// Signs no more; published until its last token has expired.
    Retiring,
}

impl KeyState {
    /// The word for it, as in the admin API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Retiring => "retiring",
        }
    }
}

impl AuthorityView {
    pub(super) fn of(trust_domain: &TrustDomain, ring: &Ring, terms: &Terms) -> Self {
        let next_rotation_at = ring.rotation_at(terms);
        let key = |key: &super::life::KeyRecord| {
            let end_of = |since: Timestamp| since.after(terms.key_life).after(terms.max_jwt_ttl);
            let (state, activates, ends) = match key.phase {
                Phase::Prepared => {
                    let planned = next_rotation_at.unwrap_or(key.created);
                    (KeyState::Prepared, planned, end_of(planned))
                }
                Phase::Active { since, .. } => (KeyState::Active, since, end_of(since)),
                Phase::Retiring { since, drops_at } => (KeyState::Retiring, since, drops_at),
            };
            KeyView { kid: key.kid.clone(), algorithm: key.algorithm, state, created: key.created, activates, ends }
        };
        Self {
            trust_domain: trust_domain.clone(),
            sequence: ring.sequence,
            keys: ring.keys.iter().map(key).collect(),
            next_rotation_at,
        }
    }
}
