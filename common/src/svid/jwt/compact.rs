//! The outer form of a token: JWS compact serialization (RFC 7515, section 3.1), and
//! nothing else that carries the name JWT.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::JwtSvidError;

/// The longest token that is looked at, in bytes. A subject of 2048 bytes, the longest
/// SPIFFE ID, with a dozen audiences fits; a megabyte of base64 is not even decoded.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token taken apart. Nothing in it has been checked yet.
pub(super) struct Compact<'t> {
    /// Decoded header.
    pub(super) header: Vec<u8>,
    /// Decoded claims.
    pub(super) claims: Vec<u8>,
    /// Decoded signature.
    pub(super) signature: Vec<u8>,
    /// What the signature is over: the first two parts as they came.
    pub(super) signing_input: &'t str,
}

impl<'t> Compact<'t> {
    /// Takes a token apart.
    ///
    /// The decoder refuses padding, foreign characters and unused bits that are set
    /// (RFC 4648, section 3.5): one signature has one spelling.
    pub(super) fn split(token: &'t str) -> Result<Self, JwtSvidError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtSvidError::TooLong);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwtSvidError::Form)?;
        let (header, claims) = signing_input.split_once('.').ok_or(JwtSvidError::Form)?;
        if claims.contains('.') || header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err(JwtSvidError::Form);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtSvidError::Encoding);
        Ok(Self { header: decode(header)?, claims: decode(claims)?, signature: decode(signature)?, signing_input })
    }
}

/// `base64url(header) . base64url(claims)` (RFC 7515, section 5.1, step 8).
pub(super) fn signing_input(header: &str, claims: &str) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut text);
    text
}
