//! What operators see of the authority: no key material.

use countersign_common::clock::Timestamp;
use countersign_common::spiffe_id::TrustDomain;

use super::life::{Ring, Terms};
use super::private_key::HeldIn;
use super::record::{KeyRecord, Make, Phase};
use super::rings::{BothTerms, Kind, Rings};

/// The authority as of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityView {
    /// Whose authority it is.
    pub trust_domain: TrustDomain,
    /// Sequence number of the bundle.
    pub sequence: u64,
    /// Keys that sign JWT-SVIDs.
    pub jwt: RingView,
    /// Authorities that sign X509-SVIDs.
    pub x509: RingView,
}

/// The keys of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingView {
    /// Each key, in the order of their making.
    pub keys: Vec<KeyView>,
    /// When the next key becomes the active one, by schedule; `None` while no key is active.
    pub next_rotation_at: Option<Timestamp>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its name: a `kid`, or a subject key id.
    pub id: String,
    /// What it signs with, as JOSE calls it.
    pub algorithm: &'static str,
    /// The root above an X.509 authority, by the SHA-256 digest of its certificate; `None` if it
    /// signed its own.
    pub root: Option<String>,
    /// Where its private half is.
    pub held_in: HeldIn,
    /// What it is doing.
    pub state: KeyState,
    /// When it was made.
    pub created: Timestamp,
    /// When it began, or by schedule begins, to sign; since when it does not sign any more, if it is done.
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
    /// Signs no more; published until its last document has expired.
    Retiring,
    /// As retiring, and what it signed is to be replaced now.
    Tainted,
    /// Not published any more: what it signed is refused.
    Revoked,
}

impl KeyState {
    /// The word for it, as in the admin API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Tainted => "tainted",
            Self::Revoked => "revoked",
        }
    }
}

impl AuthorityView {
    pub(super) fn of(trust_domain: &TrustDomain, rings: &Rings, terms: &BothTerms) -> Self {
        let [jwt, x509] = Kind::ALL.map(|kind| RingView::of(rings.of(kind), terms.of(kind)));
        Self { trust_domain: trust_domain.clone(), sequence: rings.sequence, jwt, x509 }
    }

    /// The name of each key.
    pub(super) fn names(&self) -> impl Iterator<Item = (Kind, &str)> {
        let of = |kind| self.of_kind(kind).keys.iter().map(move |key| (kind, key.id.as_str()));
        Kind::ALL.into_iter().flat_map(of)
    }

    /// The keys of one kind.
    pub fn of_kind(&self, kind: Kind) -> &RingView {
        match kind {
            Kind::Jwt => &self.jwt,
            Kind::X509 => &self.x509,
        }
    }
}

impl RingView {
    fn of(ring: &Ring, terms: &Terms) -> Self {
        let next_rotation_at = ring.rotation_at(terms);
        let keys = ring.keys.iter().map(|key| KeyView::of(key, next_rotation_at, terms)).collect();
        Self { keys, next_rotation_at }
    }
}

impl KeyView {
    fn of(key: &KeyRecord, next_rotation_at: Option<Timestamp>, terms: &Terms) -> Self {
        let (state, activates, ends) = match key.phase {
            Phase::Prepared => {
                let planned = next_rotation_at.unwrap_or(key.created);
                (KeyState::Prepared, planned, key.ends(planned, terms))
            }
            Phase::Active { since, .. } => (KeyState::Active, since, key.ends(since, terms)),
            Phase::Retiring { since, drops_at } => (KeyState::Retiring, since, drops_at),
            Phase::Tainted { since, drops_at } => (KeyState::Tainted, since, drops_at),
            Phase::Revoked { since, drops_at } => (KeyState::Revoked, since, drops_at),
        };
        let (algorithm, root) = match &key.make {
            Make::Jwt(algorithm) => (algorithm.name(), None),
            Make::SelfSigned => ("ES256", None),
            Make::Under { root, .. } => ("ES256", Some(root.clone())),
        };
        Self { id: key.id.clone(), algorithm, root, held_in: key.held_in, state, created: key.created, activates, ends }
    }
}
