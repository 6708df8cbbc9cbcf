//! Validation of JWT-SVIDs on behalf of a caller (`SPIFFE_Workload_API.md`, section 6.2.3).
//!
//! Public keys are all it takes, so any local process may ask. Which check failed is told:
//! it is about the token that the caller presented, not about the caller.

use std::sync::Arc;

use countersign_common::svid::jwt::{self, JwtSvidError, ValidatedJwtSvid};

use super::account::Account;
use super::{Identity, Refusal};
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
    /// The check that failed, or that the answer could not be recorded.
    pub async fn validate_jwt_svid(
        &self,
        peer: &Arc<Peer>,
        audience: &str,
        token: &str,
    ) -> Result<ValidatedJwtSvid, ValidationError> {
        let now = self.clock.now();
        let bundles = Arc::clone(&self.authority.bundles().borrow());
        let checked = jwt::validate(token, audience, now, |domain| bundles.of(domain).map(|bundle| &**bundle));
        let mut account = Account::open(self, "validate_jwt_svid", peer, &[audience.to_owned()], None);
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
}
