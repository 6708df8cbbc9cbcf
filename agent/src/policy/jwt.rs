//! Whether an entry allows a JWT-SVID, and on which terms.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_common::clock::Timestamp;
use countersign_common::entry::{AudiencePattern, Entry, JwtTerms};

use super::{Grant, Limits, PolicyRefusal, check_image};
use crate::attest::Attestation;

/// Decides whether `entry` allows a JWT-SVID for `audiences` to the attested process.
///
/// The life is the shortest of what the terms say for each audience, and never longer than
/// the agent's limit. The rules in their order: selectors, the entry's last day, the image,
/// audiences (some, none empty, none too long, not too many, each allowed), life.
///
/// A grant rests on an attestation:
///
/// ```
/// use countersign_agent::{attest::Attestation, policy::{authorize_jwt, Grant, Limits, PolicyRefusal}};
/// use countersign_common::{clock::Timestamp, entry::Entry};
///
/// fn grant(proof: &Attestation, entry: &Entry, limits: &Limits, now: Timestamp) -> Result<Grant, PolicyRefusal> {
///     authorize_jwt(proof, entry, &["billing".to_owned()], limits, now)
/// }
/// ```
///
/// and not on evidence that nobody judged:
///
/// ```compile_fail,E0308
/// use countersign_agent::{peer::Evidence, policy::{authorize_jwt, Grant, Limits, PolicyRefusal}};
/// use countersign_common::{clock::Timestamp, entry::Entry};
///
/// fn grant(proof: &Evidence, entry: &Entry, limits: &Limits, now: Timestamp) -> Result<Grant, PolicyRefusal> {
///     authorize_jwt(proof, entry, &["billing".to_owned()], limits, now)
/// }
/// ```
///
/// Nor can anybody put together an attestation of their own. This reads one:
///
/// ```
/// use std::collections::BTreeSet;
/// use countersign_agent::attest::Attestation;
/// use countersign_common::selector::Selector;
///
/// fn with(proof: Attestation, selectors: BTreeSet<Selector>) -> (usize, Attestation) {
///     (selectors.len() + proof.selectors().len(), proof)
/// }
/// ```
///
/// and this tries to make one:
///
/// ```compile_fail,E0451
/// use std::collections::BTreeSet;
/// use countersign_agent::attest::Attestation;
/// use countersign_common::selector::Selector;
///
/// fn with(proof: Attestation, selectors: BTreeSet<Selector>) -> (usize, Attestation) {
///     (selectors.len() + proof.selectors().len(), Attestation { found: todo!(), ..proof })
/// }
/// ```
///
/// # Errors
/// The rule that refuses. An entry whose selectors the attestation does not hold is refused here
/// too: a grant never rests on the caller having matched correctly.
pub fn authorize_jwt(
    attestation: &Attestation,
    entry: &Entry,
    audiences: &[String],
    limits: &Limits,
    now: Timestamp,
) -> Result<Grant, PolicyRefusal> {
    check_entitled(attestation, entry)?;
    if let Some(expires) = entry.expires.filter(|day| day.begins() <= now) {
        return Err(PolicyRefusal::Expired { entry: entry.id.clone(), expires });
    }
    check_image(attestation, entry, &limits.lifted)?;
    let audiences = check_audiences(entry, audiences)?;
    let ttl = life(&entry.jwt, &audiences, limits);
    // A claim is in whole seconds: less than one would be expired when it is issued.
    if ttl < Duration::from_secs(1) {
        return Err(PolicyRefusal::NoLife { entry: entry.id.clone() });
    }
    Ok(Grant {
        entry: entry.id.clone(),
        instance: attestation.instance().clone(),
        spiffe_id: entry.spiffe_id.clone(),
        audiences,
        ttl,
        not_after: entry.expires.map(|day| day.begins()),
    })
}

/// Whether everything that the entry demands is attested.
pub(super) fn check_entitled(attestation: &Attestation, entry: &Entry) -> Result<(), PolicyRefusal> {
    if entry.selectors.is_empty() {
        return Err(PolicyRefusal::NoSelectors { entry: entry.id.clone() });
    }
    match entry.selectors.iter().find(|selector| !selector.is_in(attestation.selectors())) {
        Some(selector) => Err(PolicyRefusal::NotEntitled { entry: entry.id.clone(), selector: selector.to_selector() }),
        None => Ok(()),
    }
}

/// The audiences in the order in which they were asked for, each once, if all are allowed.
fn check_audiences(entry: &Entry, requested: &[String]) -> Result<Vec<String>, PolicyRefusal> {
    if entry.jwt.audiences.is_empty() {
        return Err(PolicyRefusal::NoAudiences { entry: entry.id.clone() });
    }
    if requested.is_empty() {
        return Err(PolicyRefusal::NoneRequested);
    }
    for audience in requested {
        if audience.is_empty() {
            return Err(PolicyRefusal::EmptyAudience);
        }
        if audience.len() > AudiencePattern::MAX_BYTES {
            return Err(PolicyRefusal::AudienceTooLong { bytes: audience.len() });
        }
    }
    let mut seen = BTreeSet::new();
    let distinct: Vec<&String> = requested.iter().filter(|audience| seen.insert(*audience)).collect();
    let allowed = entry.jwt.max_audiences;
    // Before the patterns are tried: ten thousand audiences are refused at the price of counting them.
    if u32::try_from(distinct.len()).is_ok_and(|count| count <= allowed) {
        distinct.into_iter().map(|audience| check_audience(entry, audience)).collect()
    } else {
        Err(PolicyRefusal::TooManyAudiences { entry: entry.id.clone(), requested: distinct.len(), allowed })
    }
}

/// The audience, if one of the entry's patterns allows it.
fn check_audience(entry: &Entry, audience: &str) -> Result<String, PolicyRefusal> {
    if entry.jwt.audiences.allow(audience) {
        Ok(audience.to_owned())
    } else {
        Err(PolicyRefusal::AudienceNotAllowed { entry: entry.id.clone(), audience: audience.to_owned() })
    }
}

/// The shortest life that the terms say for any of the audiences, within the agent's limit.
fn life(terms: &JwtTerms, audiences: &[String], limits: &Limits) -> Duration {
    let otherwise = terms.ttl.unwrap_or(limits.default_jwt_ttl);
    let life_for = |audience: &String| {
        let own = terms.audience_ttl.iter().filter(|(pattern, _)| pattern.allows(audience)).map(|(_, ttl)| *ttl);
        own.min().unwrap_or(otherwise)
    };
    audiences.iter().map(life_for).min().unwrap_or(otherwise).min(limits.max_jwt_ttl)
}
