//! Validation of JWT-SVIDs on behalf of a caller (`SPIFFE_Workload_API.md`, section 6.2.3).
//!
//! Public keys are all it takes, so any local process may ask about tokens of the own trust domain.
//! Those of others are checked for whoever has an entry that federates with them. Which check failed
//! is told: it is about the token that the caller presented, not about the caller.

use std::sync::Arc;
use std::time::Duration;

use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::{self, JwtSvidError, ValidatedJwtSvid};

use super::account::Account;
use super::bundles::content_with_image;
use super::{Fault, Identity, Matched, Refusal};
use crate::peer::Peer;

/// Why a token was not validated.
#[derive(Debug, thiserror::Error)]
pub enum ValidationError {
    /// The token failed a check.
    #[error(transparent)]
    Token(#[from] JwtSvidError),
    /// The agent could not do it.
    #[error(transparent)]
    Agent(#[from] Refusal),
}

impl Identity {
    /// Checks `token` for `audience` against the bundle of its subject's trust domain.
    ///
    /// # Errors
    /// The check that failed, that it cannot be told whom the caller federates with, or that the
    /// answer could not be recorded.
    pub async fn validate_jwt_svid(
        &self,
        peer: &Arc<Peer>,
        audience: &str,
        token: &str,
    ) -> Result<ValidatedJwtSvid, ValidationError> {
        let mut account = Account::open(self, "validate_jwt_svid", peer, &[audience.to_owned()], None);
        let bundles = Arc::clone(&self.authority.bundles().borrow());
        let mut foreign = None;
        let own = |domain: &TrustDomain| {
            foreign = bundles.foreign.get(domain).map(Arc::clone);
            (*domain == bundles.own.trust_domain).then_some(&*bundles.own)
        };
        let mut checked = jwt::validate(token, audience, self.clock.now(), own);
        if let Some(foreign) = foreign {
            match self.federates(peer, &foreign.trust_domain, &mut account).await {
                Ok(true) => checked = jwt::validate(token, audience, self.clock.now(), |_| Some(&foreign)),
                Ok(false) => {}
                Err(refusal) => return Err(account.refused(refusal).await.into()),
            }
        }
        match &checked {
            Ok(valid) => {
                account.about_token(&valid.spiffe_id, valid.claims.get("jti").and_then(serde_json::Value::as_str));
                account.answered("valid").await?;
            }
            Err(error) => {
                account.because(error.to_string());
                account.answered("invalid").await?;
            }
        }
        Ok(checked?)
    }

    /// Whether an entry of the caller federates with this trust domain. Who has no entry at all
    /// federates with none, and is not held for one.
    async fn federates(&self, peer: &Arc<Peer>, domain: &TrustDomain, account: &mut Account) -> Result<bool, Refusal> {
        let matching = self.attest_and_match(peer, None, &mut self.registry.clone(), Duration::ZERO, account).await;
        let entitled = matching
            .and_then(|Matched { attestation, entries, .. }| content_with_image(&self.limits, &attestation, entries));
        match entitled {
            Ok((entries, _)) => Ok(entries.iter().any(|entry| entry.federates_with.contains(domain))),
            Err(refusal) if refusal.fault() == Fault::Caller => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }
}
