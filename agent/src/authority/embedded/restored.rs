//! The saved state of a backup that takes the place of a later one.

use std::sync::Arc;

use countersign_common::clock::Timestamp;
use countersign_common::spiffe_id::TrustDomain;

use super::form;
use super::pkcs11::Pkcs11Token;
use super::sealed;
use super::sealing_key::SealingKey;
use crate::authority::AuthorityError;

/// More changes than operators make by hand, less than three hours of seconds.
const LEAP: u64 = 10_000;

/// The same keys with a bundle sequence that others cannot have passed: bundles were published
/// after the backup was taken, and a sequence never falls (SPIFFE_Trust_Domain_and_Bundle.md,
/// section 4.1.1). It was the present second at the beginning and rises by one with each change, so
/// it is past the present second only by what operators changed within less than a second each.
///
/// # Errors
/// The state cannot be opened with this sealing key, a key of it is not in the token, or it cannot be
/// sealed again.
pub fn restored_state(
    sealed: &[u8],
    sealing_key: &SealingKey,
    trust_domain: &TrustDomain,
    token: Option<&Arc<Pkcs11Token>>,
    now: Timestamp,
) -> Result<Vec<u8>, AuthorityError> {
    let read = sealed::open(sealing_key, trust_domain, sealed).and_then(|(form, text)| form::read(form, &text, token));
    let mut keys = read.map_err(AuthorityError::State)?;
    keys.rings.sequence = keys.rings.sequence.max(now.seconds()).saturating_add(LEAP);
    sealed::seal(sealing_key, trust_domain, form::write(&keys)?)
}
