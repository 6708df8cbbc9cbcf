//! Both rings with their keys: what is published, and what signs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use countersign_common::bundle::Bundle;
use countersign_common::clock::Timestamp;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::x509::Certificate;

use super::jwt_key::JwtKey;
use super::life::Terms;
use super::pkcs11::{KeyId, Pkcs11Key};
use super::private_key::HeldIn;
use super::record::{KeyRecord, Make, Phase};
use super::rings::{BothTerms, Kind, Rings};
use super::signer::Signer;
use super::x509_key::X509Key;

/// The rings and the key behind each of their records. Clones share the keys.
#[derive(Clone)]
pub(super) struct KeyRing {
    pub(super) rings: Rings,
    pub(super) jwt: BTreeMap<String, Arc<JwtKey>>,
    pub(super) x509: BTreeMap<String, Arc<X509Key>>,
}

/// A key that was made and is in no ring yet.
pub(super) enum NewKey {
    Jwt(JwtKey),
    X509(X509Key),
}

impl KeyRing {
    /// Rings without keys, for a trust domain that begins now.
    ///
    /// The sequence begins at the present second rather than at zero: a store that was
    /// lost and begun anew must not publish a sequence that others have already passed
    /// (SPIFFE_Trust_Domain_and_Bundle.md, section 4.1.1).
    pub(super) fn begin(now: Timestamp, terms: &BothTerms) -> Self {
        let rings = Rings::begin(now, terms.refresh_hint);
        Self { rings, jwt: BTreeMap::new(), x509: BTreeMap::new() }
    }

    /// Adds a key that signs nothing yet.
    pub(super) fn prepare(&mut self, key: NewKey, now: Timestamp) {
        match key {
            NewKey::Jwt(key) => {
                let held_in = held_in(key.token_key());
                self.rings.jwt.prepare(key.kid().to_owned(), Make::Jwt(key.algorithm()), held_in, None, now);
                self.jwt.insert(key.kid().to_owned(), Arc::new(key));
            }
            NewKey::X509(key) => {
                let (id, make, validity) = (key.id().to_owned(), key.make().clone(), key.validity());
                self.rings.x509.prepare(id.clone(), make, held_in(key.token_key()), Some(validity), now);
                self.x509.insert(id, Arc::new(key));
            }
        }
    }

    /// Forgets a key; its private half is wiped with the last reference.
    pub(super) fn drop_key(&mut self, kind: Kind, id: &str) {
        self.rings.of_mut(kind).drop_key(id);
        self.forget(id);
    }

    /// Publishes a key no more; `false` if it is the active one or revoked already.
    pub(super) fn revoke(&mut self, kind: Kind, id: &str, now: Timestamp) -> bool {
        let done = self.rings.of_mut(kind).revoke(id, now);
        if done {
            self.forget(id);
        }
        done
    }

    fn forget(&mut self, id: &str) {
        self.jwt.remove(id);
        self.x509.remove(id);
    }

    /// The keys of both kinds that a token has.
    pub(super) fn in_token(&self) -> BTreeMap<KeyId, Pkcs11Key> {
        let jwt = self.jwt.values().filter_map(|key| key.token_key());
        let x509 = self.x509.values().filter_map(|key| key.token_key());
        jwt.chain(x509).map(|key| (key.id(), key.clone())).collect()
    }

    /// The bundle that the rings make: every key of them, in the order of their making, and the
    /// root of each X.509 authority once.
    pub(super) fn bundle(&self, trust_domain: &TrustDomain) -> Bundle {
        let is_published = |record: &&KeyRecord| record.published().is_some();
        let jwt = self.rings.jwt.keys.iter().filter(is_published).filter_map(|record| self.jwt.get(&record.id));
        let x509 = self.rings.x509.keys.iter().filter(is_published).filter_map(|record| self.x509.get(&record.id));
        let mut seen = BTreeSet::new();
        let anchors: Vec<Certificate> =
            x509.filter_map(|key| key.anchor()).filter(|anchor| seen.insert(*anchor)).cloned().collect();
        Bundle {
            trust_domain: trust_domain.clone(),
            sequence: self.rings.sequence,
            refresh_hint: self.rings.refresh_hint,
            jwt_authorities: jwt.map(|key| key.authority()).collect(),
            x509_authorities: anchors,
        }
    }

    /// The active JWT key with its limits.
    pub(super) fn jwt_signer(&self, terms: &BothTerms) -> Option<Signer<JwtKey>> {
        signer(&self.rings, Kind::Jwt, &self.jwt, terms.of(Kind::Jwt))
    }

    /// The active X.509 authority with its limits.
    pub(super) fn x509_signer(&self, terms: &BothTerms) -> Option<Signer<X509Key>> {
        signer(&self.rings, Kind::X509, &self.x509, terms.of(Kind::X509))
    }
}

fn held_in(token_key: Option<&Pkcs11Key>) -> HeldIn {
    if token_key.is_some() { HeldIn::Pkcs11 } else { HeldIn::State }
}

fn signer<K>(rings: &Rings, kind: Kind, keys: &BTreeMap<String, Arc<K>>, terms: &Terms) -> Option<Signer<K>> {
    let ring = rings.of(kind);
    let record = ring.active()?;
    let Phase::Active { since, .. } = record.phase else { return None };
    let begins = record.validity.map_or(since, |validity| since.max(validity.from));
    Some(Signer {
        key: Arc::clone(keys.get(&record.id)?),
        since: begins,
        signs_until: ring.rotation_at(terms)?,
        ends: record.ends(since, terms),
    })
}
