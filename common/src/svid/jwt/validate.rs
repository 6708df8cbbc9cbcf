//! Every check of JWT-SVID.md, section 4, in one fixed order.

use super::claims::ReadClaims;
use super::compact::Compact;
use super::header::Header;
use super::{JwtSvidError, ValidatedJwtSvid, signature};
use crate::bundle::{Bundle, JwtAuthority};
use crate::clock::Timestamp;
use crate::spiffe_id::TrustDomain;

/// Checks a token as JWT-SVID.md, section 4 demands, against the bundle of its
/// subject's own trust domain; `bundle_of` finds that bundle.
///
/// There is no leeway: agent and signer share a clock or keep theirs in step, and a
/// token that is accepted after its expiry cannot be explained to anybody.
///
/// # Errors
/// The first check that the token fails. The order is fixed: form, algorithm, header,
/// claims' form, trust domain, key, signature, times, audience.
pub fn validate<'b>(
    token: &str,
    audience: &str,
    now: Timestamp,
    bundle_of: impl FnOnce(&TrustDomain) -> Option<&'b Bundle>,
) -> Result<ValidatedJwtSvid, JwtSvidError> {
    if audience.is_empty() {
        return Err(JwtSvidError::NoExpectedAudience);
    }
    let parts = Compact::split(token)?;
    let header = Header::parse(&parts.header)?;
    let claims = ReadClaims::parse(&parts.claims)?;

    let bundle = bundle_of(&claims.sub.trust_domain()).ok_or(JwtSvidError::TrustDomain)?;
    // A lookup that answers with another domain's bundle must not make its keys good for this one.
    if !claims.sub.is_of(&bundle.trust_domain) {
        return Err(JwtSvidError::TrustDomain);
    }
    let authority = authority_for(&header, bundle)?;
    signature::verify(header.algorithm, &authority.key, parts.signing_input.as_bytes(), &parts.signature)?;

    if claims.exp.has_come(now) {
        return Err(JwtSvidError::Expired);
    }
    if claims.nbf.is_some_and(|nbf| !nbf.has_come(now)) {
        return Err(JwtSvidError::NotYetValid);
    }
    if !claims.aud.iter().any(|element| element == audience) {
        return Err(JwtSvidError::Audience);
    }
    Ok(ValidatedJwtSvid { spiffe_id: claims.sub, claims: claims.all })
}

/// The key that the header names, if the header's algorithm is one for it.
fn authority_for<'b>(header: &Header, bundle: &'b Bundle) -> Result<&'b JwtAuthority, JwtSvidError> {
    let authority =
        bundle.jwt_authorities.iter().find(|authority| authority.kid == header.kid).ok_or(JwtSvidError::Key)?;
    let is_the_keys_own = authority.algorithm.is_none_or(|own| own == header.algorithm);
    if is_the_keys_own && header.algorithm.fits(&authority.key) {
        Ok(authority)
    } else {
        Err(JwtSvidError::KeyAlgorithm)
    }
}
