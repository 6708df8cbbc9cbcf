//! Whether an entry allows an X509-SVID, and on which terms.

use std::time::Duration;

use countersign_common::clock::Timestamp;
use countersign_common::entry::{Entry, EntryId};
use countersign_common::spiffe_id::SpiffeId;

use super::jwt::check_entitled;
use super::{Limits, PolicyRefusal, check_image};
use crate::attest::Attestation;
use crate::peer::ProcessInstance;

/// Leave to sign X509-SVIDs with these terms, for this process and no other. Made only by
/// [`authorize_x509`]; signing takes a reference to it.
///
/// Whoever holds a grant may read it:
///
/// ```
/// use std::time::Duration;
/// use countersign_agent::policy::X509Grant;
///
/// fn longer(grant: X509Grant, ttl: Duration) -> (Duration, X509Grant) {
///     (ttl, grant)
/// }
///
/// fn life(grant: &X509Grant) -> Duration {
///     grant.ttl()
/// }
/// ```
///
/// and can neither make one out of another:
///
/// ```compile_fail,E0451
/// use std::time::Duration;
/// use countersign_agent::policy::X509Grant;
///
/// fn longer(grant: X509Grant, ttl: Duration) -> (Duration, X509Grant) {
///     (ttl, X509Grant { ttl, ..grant })
/// }
///
/// fn life(grant: &X509Grant) -> Duration {
///     grant.ttl()
/// }
/// ```
///
/// nor change the one that it holds:
///
/// ```compile_fail,E0616
/// use std::time::Duration;
/// use countersign_agent::policy::X509Grant;
///
/// fn longer(mut grant: X509Grant, ttl: Duration) -> (Duration, X509Grant) {
///     grant.ttl = ttl;
///     (ttl, grant)
/// }
///
/// fn life(grant: &X509Grant) -> Duration {
///     grant.ttl()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct X509Grant {
    entry: EntryId,
    instance: ProcessInstance,
    spiffe_id: SpiffeId,
    dns_names: Vec<String>,
    ttl: Duration,
    not_after: Option<Timestamp>,
}

impl X509Grant {
    /// The entry that allows it.
    pub fn entry(&self) -> &EntryId {
        &self.entry
    }

    /// The process that the SVID will belong to.
    pub fn instance(&self) -> &ProcessInstance {
        &self.instance
    }

    /// The identity.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// DNS names beside it.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// Life of the leaf from its issue on; at least a second.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// No leaf under this grant is valid at or after this time (the entry's `expires`).
    pub fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }
}

/// Decides whether `entry` allows an X509-SVID to the attested process. The rules in their order:
/// selectors, the entry's last day, the image, a SPIFFE ID with a path, life. The life is what the
/// entry says, else the agent's default, and never longer than the agent's limit.
///
/// A grant rests on an attestation:
///
/// ```
/// use countersign_agent::{attest::Attestation, policy::{authorize_x509, Limits, PolicyRefusal, X509Grant}};
/// use countersign_common::{clock::Timestamp, entry::Entry};
///
/// fn grant(proof: &Attestation, entry: &Entry, limits: &Limits, now: Timestamp) -> Result<X509Grant, PolicyRefusal> {
///     authorize_x509(proof, entry, limits, now)
/// }
/// ```
///
/// and not on evidence that nobody judged:
///
/// ```compile_fail,E0308
/// use countersign_agent::{peer::Evidence, policy::{authorize_x509, Limits, PolicyRefusal, X509Grant}};
/// use countersign_common::{clock::Timestamp, entry::Entry};
///
/// fn grant(proof: &Evidence, entry: &Entry, limits: &Limits, now: Timestamp) -> Result<X509Grant, PolicyRefusal> {
///     authorize_x509(proof, entry, limits, now)
/// }
/// ```
///
/// # Errors
/// The rule that refuses. An entry whose selectors the attestation does not hold is refused here too.
pub fn authorize_x509(
    attestation: &Attestation,
    entry: &Entry,
    limits: &Limits,
    now: Timestamp,
) -> Result<X509Grant, PolicyRefusal> {
    check_entitled(attestation, entry)?;
    if let Some(expires) = entry.expires.filter(|day| day.begins() <= now) {
        return Err(PolicyRefusal::Expired { entry: entry.id.clone(), expires });
    }
    check_image(attestation, entry, &limits.lifted)?;
    if entry.spiffe_id.path().is_empty() {
        return Err(PolicyRefusal::NoPath { entry: entry.id.clone() });
    }
    let ttl = entry.x509.ttl.unwrap_or(limits.default_x509_ttl).min(limits.max_x509_ttl);
    // Times in certificates are whole seconds: less than one would be expired when it is issued.
    if ttl < Duration::from_secs(1) {
        return Err(PolicyRefusal::NoX509Life { entry: entry.id.clone() });
    }
    Ok(X509Grant {
        entry: entry.id.clone(),
        instance: attestation.instance().clone(),
        spiffe_id: entry.spiffe_id.clone(),
        dns_names: entry.x509.dns_names.to_vec(),
        ttl,
        not_after: entry.expires.map(|day| day.begins()),
    })
}

/// A grant that says what a test of another room wants it to say.
#[cfg(test)]
pub(crate) fn x509_grant_for_tests(spiffe_id: SpiffeId, dns_names: Vec<String>, ttl: Duration) -> X509Grant {
    let executable = crate::peer::FileIdentity { dev: 0, ino: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
    let instance = ProcessInstance { pid: 1, start_time: 1, executable };
    let entry = EntryId::parse("test").unwrap();
    X509Grant { entry, instance, spiffe_id, dns_names, ttl, not_after: None }
}
