//! JWT-SVIDs (JWT-SVID.md): what we put into one, and how any is checked.

mod algorithm;
mod claims;
mod compact;
mod error;
mod header;
mod issued;
mod signature;
mod validate;

#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use claims::Claims;
pub use compact::MAX_TOKEN_BYTES;
pub use error::JwtSvidError;
pub use issued::check_issued;
pub(crate) use signature::is_sound;
pub use validate::validate;

use crate::secret::BearerToken;
use crate::spiffe_id::SpiffeId;

/// A JWT-SVID that was issued here: the token, and what may be said about it.
#[derive(Clone)]
pub struct JwtSvid {
    /// The token; never logged.
    pub token: BearerToken,
    /// What it says.
    pub claims: Claims,
    /// Which key signed it.
    pub kid: String,
}

/// A token that passed every check.
#[derive(Clone, Debug)]
pub struct ValidatedJwtSvid {
    /// Whose token it is.
    pub spiffe_id: SpiffeId,
    /// All its claims.
    pub claims: serde_json::Map<String, serde_json::Value>,
}
