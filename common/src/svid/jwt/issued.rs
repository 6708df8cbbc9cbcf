//! The last look at a product of our own before it leaves.

use super::claims::ReadClaims;
use super::compact::Compact;
use super::header::Header;
use super::{Algorithm, JwtSvid, JwtSvidError};

/// Checks a product of our own before it leaves: parses the token again, strictly,
/// and compares header and claims with what was meant. (The signature is the
/// signing key's word; this check is about what was signed.)
///
/// # Errors
/// What the token says differently, or the form it breaks.
pub fn check_issued(svid: &JwtSvid, algorithm: Algorithm) -> Result<(), JwtSvidError> {
    let parts = Compact::split(svid.token.expose())?;
    let header = Header::parse(&parts.header)?;
    let claims = ReadClaims::parse(&parts.claims)?;
    let meant = &svid.claims;

    if header.algorithm != algorithm || header.kid != svid.kid || claims.all != meant.to_json() {
        return Err(JwtSvidError::NotAsMeant);
    }
    if claims.aud.iter().any(String::is_empty) {
        return Err(JwtSvidError::AudienceForm);
    }
    if meant.jti.is_empty() {
        return Err(JwtSvidError::Claims);
    }
    if meant.exp <= meant.nbf || meant.exp <= meant.iat {
        return Err(JwtSvidError::Expired);
    }
    Ok(())
}
