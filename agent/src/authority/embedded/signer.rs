//! One signature: from a grant to a token that was looked at once more.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_common::clock::Timestamp;
use countersign_common::secret::BearerToken;
use countersign_common::svid::jwt::{Claims, JwtSvid, check_issued};

use super::jwt_key::JwtKey;
use crate::authority::AuthorityError;
use crate::policy::Grant;

/// Random bytes in a `jti`.
const JTI_BYTES: usize = 16;

/// The active key of one kind, published to everyone who signs. Has no `Debug`: it holds the private key.
pub(super) struct Signer<K> {
    pub(super) key: Arc<K>,
    /// From when on it signs.
    pub(super) since: Timestamp,
    /// When another key should have taken over.
    pub(super) signs_until: Timestamp,
    /// No document that it signs is valid after this time.
    pub(super) ends: Timestamp,
}

impl<K> Signer<K> {
    /// Whether the key is in its time: no other one should be signing now.
    pub(super) fn is_in_its_time(&self, now: Timestamp) -> bool {
        self.since <= now && now < self.signs_until
    }

    /// Whether the key may sign at all: late for its successor perhaps, but not past its
    /// end, and not before its beginning, which a clock that went back would show.
    pub(super) fn may_sign(&self, now: Timestamp) -> bool {
        self.since <= now && now < self.ends
    }
}

impl Signer<JwtKey> {
    /// Builds, signs and checks a JWT-SVID.
    ///
    /// # Errors
    /// The grant leaves no time, the crypto library failed, or the product breaks a rule.
    pub(super) fn sign(&self, grant: &Grant, issuer: Option<&str>, now: Timestamp) -> Result<JwtSvid, AuthorityError> {
        let claims = self.claims(grant, issuer, now)?;
        let algorithm = self.key.algorithm();
        let mut token = claims.signing_input(algorithm, self.key.kid());
        let signature = self.key.sign(token.as_bytes())?;
        token.reserve_exact(1 + signature.len().div_ceil(3) * 4);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);

        let svid = JwtSvid { token: BearerToken::new(token), claims, kid: self.key.kid().to_owned() };
        check_issued(&svid, algorithm).map_err(AuthorityError::Product)?;
        Ok(svid)
    }

    fn claims(&self, grant: &Grant, issuer: Option<&str>, now: Timestamp) -> Result<Claims, AuthorityError> {
        let limits = [Some(now.after(grant.ttl())), grant.not_after(), Some(self.ends)];
        let exp = limits.into_iter().flatten().min().filter(|exp| *exp > now).ok_or(AuthorityError::GrantOver)?;
        Ok(Claims {
            sub: grant.spiffe_id().clone(),
            aud: grant.audiences().to_vec(),
            iat: now,
            nbf: now,
            exp,
            jti: new_jti()?,
            iss: issuer.map(str::to_owned),
        })
    }
}

/// A name that no other token has (RFC 7519, section 4.1.7).
fn new_jti() -> Result<String, AuthorityError> {
    let mut bytes = [0; JTI_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Crypto("draw random bytes"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
