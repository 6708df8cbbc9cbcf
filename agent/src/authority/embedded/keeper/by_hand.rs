//! What operators do to the rings by hand.

use super::{Keeper, Kind};
use crate::authority::AuthorityError;
use crate::authority::embedded::key_ring::KeyRing;
use crate::authority::embedded::record::{KeyRecord, Phase};

/// As many keys of a kind as an operator may prepare; the schedule needs at most four.
const MAX_KEYS: usize = 8;

/// As many keys of a kind as there may be for one to be tainted, which makes another. There is
/// room for it when no more may be prepared.
const MAX_KEYS_TO_TAINT: usize = 32;

impl Keeper {
    pub(super) async fn prepare_by_hand(&mut self, kinds: &[Kind]) -> Result<(), AuthorityError> {
        let mut next = self.up_to_date(kinds).await?;
        let now = self.clock.now();
        for &kind in kinds {
            let ring = next.rings.of(kind);
            if let Some(prepared) = ring.prepared() {
                return Err(AuthorityError::AlreadyPrepared { kind, id: prepared.id.clone() });
            }
            let count = ring.keys.len();
            if count >= MAX_KEYS {
                return Err(AuthorityError::TooManyKeys { kind, count });
            }
            let key = self.make(&next, kind, now).await?;
            next.prepare(key, now);
        }
        self.commit(next).await
    }

    pub(super) async fn activate_by_hand(&mut self, kinds: &[Kind]) -> Result<(), AuthorityError> {
        let mut next = self.up_to_date(kinds).await?;
        for &kind in kinds {
            if next.rings.of(kind).prepared().is_none() {
                return Err(AuthorityError::NothingPrepared(kind));
            }
            next.rings.of_mut(kind).activate(self.clock.now(), self.terms.of(kind));
        }
        self.commit(next).await
    }

    pub(super) async fn taint_by_hand(&mut self, given: &str) -> Result<(), AuthorityError> {
        let (kind, id) = self.keys.rings.named(given)?;
        let mut next = self.up_to_date(&[kind]).await?;
        let now = self.clock.now();
        let count = next.rings.of(kind).keys.len();
        if count >= MAX_KEYS_TO_TAINT {
            return Err(AuthorityError::TooManyKeys { kind, count });
        }
        if !next.rings.of_mut(kind).taint(&id, now) {
            let state = next.rings.of(kind).key(&id).map_or("gone", what_it_does);
            return Err(AuthorityError::NotToTaint { id, state });
        }
        // A successor takes over, known or not, as if the key had come to its end.
        self.settle(&mut next, kind, now).await?;
        self.commit(next).await
    }

    pub(super) async fn revoke_by_hand(&mut self, given: &str) -> Result<(), AuthorityError> {
        let (kind, id) = self.keys.rings.named(given)?;
        let mut next = self.up_to_date(&[kind]).await?;
        if let Some(ends) = accepted_all_the_same(&next, kind, &id) {
            return Err(AuthorityError::RootInUse { id, ends });
        }
        let now = self.clock.now();
        if !next.revoke(kind, &id, now) {
            return match next.rings.of(kind).key(&id).map(|key| key.phase) {
                Some(Phase::Active { .. }) => Err(AuthorityError::RevokeActive { id }),
                _ => Err(AuthorityError::RevokedAlready { id }),
            };
        }
        // The schedule may want another one in the place of a prepared one.
        self.settle(&mut next, kind, now).await?;
        self.commit(next).await
    }

    /// The rings with everything done that is due, so that a hand never works on what is behind its clock.
    async fn up_to_date(&mut self, kinds: &[Kind]) -> Result<KeyRing, AuthorityError> {
        self.take_due_steps(kinds).await?;
        Ok(self.keys.clone())
    }
}

/// When all that an authority signed has expired, if verifiers accept it until then even without
/// the authority: for a root in the bundle that another one needs.
fn accepted_all_the_same(keys: &KeyRing, kind: Kind, id: &str) -> Option<countersign_common::clock::Timestamp> {
    let ring = keys.rings.of(kind);
    let ends = ring.key(id)?.drops_at()?;
    let root = ring.key(id)?.published()?;
    let others = ring.keys.iter().filter(|other| other.id != id);
    others.filter_map(KeyRecord::published).any(|other| other == root).then_some(ends)
}

fn what_it_does(key: &KeyRecord) -> &'static str {
    match key.phase {
        Phase::Prepared => "prepared",
        Phase::Active { .. } => "active",
        Phase::Retiring { .. } => "retiring",
        Phase::Tainted { .. } => "tainted already",
        Phase::Revoked { .. } => "revoked",
    }
}
