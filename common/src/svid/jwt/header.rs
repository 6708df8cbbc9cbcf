//! The header of a JWT-SVID: a closed set of three parameters (JWT-SVID.md, section 2).

use serde_json::{Value, json};

use super::{Algorithm, JwtSvidError};
use crate::strict_json;

/// A header that keeps the rules.
pub(super) struct Header {
    /// `alg`.
    pub(super) algorithm: Algorithm,
    /// `kid`; the standard lets it be absent, every validator in the field refuses that.
    pub(super) kid: String,
}

impl Header {
    /// Reads a header strictly. The algorithm is looked at before all else
    /// (JWT-SVID.md, section 4).
    pub(super) fn parse(text: &[u8]) -> Result<Self, JwtSvidError> {
        let mut parameters = strict_json::parse_object(text).map_err(|_| JwtSvidError::Header)?;
        let algorithm = match parameters.remove("alg") {
            Some(Value::String(name)) => name.parse().map_err(|_| JwtSvidError::Algorithm)?,
            _ => return Err(JwtSvidError::Algorithm),
        };
        let (kid, typ) = (parameters.remove("kid"), parameters.remove("typ"));
        // What is left is `crit`, a key to be trusted on the token's own word, or unknown.
        if !parameters.is_empty() {
            return Err(JwtSvidError::HeaderParameter);
        }
        match typ.as_ref().map(Value::as_str) {
            None | Some(Some("JWT" | "JOSE")) => {}
            Some(_) => return Err(JwtSvidError::Type),
        }
        match kid {
            Some(Value::String(kid)) if !kid.is_empty() => Ok(Self { algorithm, kid }),
            _ => Err(JwtSvidError::KeyId),
        }
    }
}

/// The header that we write, always with all three parameters.
pub(super) fn write(algorithm: Algorithm, kid: &str) -> String {
    json!({ "alg": algorithm.name(), "kid": kid, "typ": "JWT" }).to_string()
}
