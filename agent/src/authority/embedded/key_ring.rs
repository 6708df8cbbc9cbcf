//! The ring with its keys: what is published, what signs, and how it is written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_common::bundle::Bundle;
use countersign_common::clock::Timestamp;
use countersign_common::secret::SecretBytes;
use countersign_common::spiffe_id::TrustDomain;
use zeroize::Zeroizing;

use super::jwt_key::JwtKey;
use super::life::{Phase, Ring, Terms};
use super::sealed::StateError;
use super::signer::Signer;
use super::x509_ca::X509Ca;
use crate::authority::AuthorityError;

/// The ring and the key behind each of its records. Clones share the keys.
#[derive(Clone)]
pub(super) struct KeyRing {
    pub(super) ring: Ring,
    keys: BTreeMap<String, Arc<JwtKey>>,
}

impl KeyRing {
    /// A ring without keys, for a trust domain that begins now.
    ///
    /// The sequence begins at the present second rather than at zero: a store that was
    /// lost and begun anew must not publish a sequence that others have already passed
    /// (SPIFFE_Trust_Domain_and_Bundle.md, section 4.1.1).
    pub(super) fn begin(now: Timestamp, terms: &Terms) -> Self {
        let ring = Ring { sequence: now.seconds(), refresh_hint: terms.refresh_hint, keys: Vec::new() };
        Self { ring, keys: BTreeMap::new() }
    }

    /// Adds a key that signs nothing yet.
    pub(super) fn prepare(&mut self, key: JwtKey, now: Timestamp) {
        self.ring.prepare(key.kid().to_owned(), key.algorithm(), now);
        self.keys.insert(key.kid().to_owned(), Arc::new(key));
    }

    /// Forgets a key; its private half is wiped with the last reference.
    pub(super) fn drop_key(&mut self, kid: &str) {
        self.ring.keys.retain(|record| record.kid != kid);
        self.keys.remove(kid);
    }

    /// Raises the sequence by one if other keys are published than in `before`.
    pub(super) fn count_change_since(&mut self, before: &Self) {
        if self.keys.keys().ne(before.keys.keys()) {
            self.ring.sequence = self.ring.sequence.saturating_add(1);
        }
    }

    /// The bundle that the ring makes: every key of it, in the order of their making.
    pub(super) fn bundle(&self, trust_domain: &TrustDomain, x509: &X509Ca) -> Bundle {
        let keys = self.ring.keys.iter().filter_map(|record| self.keys.get(&record.kid));
        Bundle {
            trust_domain: trust_domain.clone(),
            sequence: self.ring.sequence,
            refresh_hint: self.ring.refresh_hint,
            jwt_authorities: keys.map(|key| key.authority()).collect(),
            x509_authorities: vec![x509.certificate().clone()],
        }
    }

    /// The active key with its limits.
    pub(super) fn signer(&self, terms: &Terms) -> Option<Signer> {
        let record = self.ring.active()?;
        let Phase::Active { since, .. } = record.phase else { return None };
        let key = self.keys.get(&record.kid)?;
        let signs_until = record.signs_until(terms)?;
        Some(Signer { key: Arc::clone(key), since, signs_until, ends: signs_until.after(terms.max_jwt_ttl) })
    }

    /// Writes the ring down: the length and the text of its records as JSON, then the
    /// length and the bytes of each key. Private keys never pass through the JSON writer,
    /// and the buffer is of full size from the start, so that growing leaves no copies.
    pub(super) fn write(&self) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
        let failed = AuthorityError::Crypto("write the state down");
        let Ok(records) = serde_json::to_vec(&self.ring) else { return Err(failed) };
        let keys: Vec<_> = self.ring.keys.iter().filter_map(|record| self.keys.get(&record.kid)).collect();
        let secrets = keys.iter().map(|key| key.pkcs8().expose());
        let size = secrets.clone().map(|secret| secret.len() + 4).sum::<usize>() + records.len() + 4;
        let mut text = Zeroizing::new(Vec::with_capacity(size));
        for part in std::iter::once(records.as_slice()).chain(secrets) {
            let Ok(length) = u32::try_from(part.len()) else { return Err(failed) };
            text.extend_from_slice(&length.to_be_bytes());
            text.extend_from_slice(part);
        }
        Ok(text)
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(super) fn read(text: &[u8]) -> Result<Self, StateError> {
        let (records, mut rest) = part(text)?;
        let ring: Ring = serde_json::from_slice(records).map_err(|_| StateError::Damaged)?;
        let mut keys = BTreeMap::new();
        for record in &ring.keys {
            let (secret, after) = part(rest)?;
            rest = after;
            let key = JwtKey::from_pkcs8(record.algorithm, SecretBytes::new(secret.to_vec()))
                .map_err(|_| StateError::Damaged)?;
            if key.kid() != record.kid || keys.insert(record.kid.clone(), Arc::new(key)).is_some() {
                return Err(StateError::Damaged);
            }
        }
        if rest.is_empty() { Ok(Self { ring, keys }) } else { Err(StateError::Damaged) }
    }
}

/// One length with its bytes, and what comes after.
fn part(text: &[u8]) -> Result<(&[u8], &[u8]), StateError> {
    let (length, rest) = text.split_first_chunk().ok_or(StateError::Damaged)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| StateError::Damaged)?;
    rest.split_at_checked(length).ok_or(StateError::Damaged)
}
