//! The claims of a JWT-SVID (JWT-SVID.md, section 3): what we write, and what is read
//! from any token before its signature is worth checking.

use serde_json::{Map, Value, json};

use super::{Algorithm, JwtSvidError, compact, header};
use crate::clock::Timestamp;
use crate::spiffe_id::SpiffeId;
use crate::strict_json;

/// The claims of a JWT-SVID that we issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The workload's SPIFFE ID.
    pub sub: SpiffeId,
    /// For whom the token is; never empty.
    pub aud: Vec<String>,
    /// When it was issued.
    pub iat: Timestamp,
    /// From when on it is valid.
    pub nbf: Timestamp,
    /// From when on it is expired.
    pub exp: Timestamp,
    /// Unique name of this token.
    pub jti: String,
    /// Issuer URL, where the operator set one.
    pub iss: Option<String>,
}

impl Claims {
    /// Header and claims, ready to be signed: `base64url(header) . base64url(claims)`.
    /// The header is exactly `alg`, `kid`, `typ` (JWT-SVID.md, section 2).
    pub fn signing_input(&self, algorithm: Algorithm, kid: &str) -> String {
        let claims = Value::Object(self.to_json()).to_string();
        compact::signing_input(&header::write(algorithm, kid), &claims)
    }

    /// The claims as they stand in the token: `aud` is always a list.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let mut claims = Map::new();
        claims.insert("sub".into(), json!(self.sub.as_str()));
        claims.insert("aud".into(), json!(self.aud));
        claims.insert("iat".into(), json!(self.iat));
        claims.insert("nbf".into(), json!(self.nbf));
        claims.insert("exp".into(), json!(self.exp));
        claims.insert("jti".into(), json!(self.jti));
        if let Some(issuer) = &self.iss {
            claims.insert("iss".into(), json!(issuer));
        }
        claims
    }
}

/// Claims whose form is right. Whether they hold (time, audience) is not decided yet.
pub(super) struct ReadClaims {
    pub(super) sub: SpiffeId,
    pub(super) aud: Vec<String>,
    pub(super) exp: NumericDate,
    pub(super) nbf: Option<NumericDate>,
    /// All claims, those above included.
    pub(super) all: Map<String, Value>,
}

impl ReadClaims {
    /// Reads claims strictly.
    ///
    /// A subject without a path is refused: it names the trust domain's own authority
    /// (SPIFFE-ID.md, section 3.1), and JWT-SVID.md, section 3.1 wants a workload.
    pub(super) fn parse(text: &[u8]) -> Result<Self, JwtSvidError> {
        let all = strict_json::parse_object(text).map_err(|_| JwtSvidError::Claims)?;
        let sub = match all.get("sub") {
            Some(Value::String(sub)) => SpiffeId::parse(sub).map_err(|_| JwtSvidError::Subject)?,
            _ => return Err(JwtSvidError::Subject),
        };
        if sub.path().is_empty() {
            return Err(JwtSvidError::Subject);
        }
        let aud = audiences(all.get("aud")).ok_or(JwtSvidError::AudienceForm)?;
        let exp = all.get("exp").and_then(NumericDate::read).ok_or(JwtSvidError::ExpiryForm)?;
        let nbf = optional_date(&all, "nbf", JwtSvidError::NotBeforeForm)?;
        // A time of issue in the future is no reason to refuse: clocks differ, and `nbf` is the claim for that.
        optional_date(&all, "iat", JwtSvidError::IssuedAtForm)?;
        Ok(Self { sub, aud, exp, nbf, all })
    }
}

/// `aud` as a string or a list of strings, at least one (RFC 7519, section 4.1.3).
fn audiences(claim: Option<&Value>) -> Option<Vec<String>> {
    match claim? {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(list) if !list.is_empty() => {
            list.iter().map(|element| element.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}

fn optional_date(
    claims: &Map<String, Value>,
    name: &str,
    malformed: JwtSvidError,
) -> Result<Option<NumericDate>, JwtSvidError> {
    claims.get(name).map(|claim| NumericDate::read(claim).ok_or(malformed)).transpose()
}

/// A `NumericDate` (RFC 7519, section 2), rounded up to a whole second.
///
/// Our clock counts whole seconds, and `now < date` holds exactly if `now < date rounded
/// up` does: fractions are obeyed without floating-point time anywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumericDate(Timestamp);

impl NumericDate {
    /// Reads a number. Dates before 1970 are malformed, dates past the range of 64 bits become its end.
    fn read(claim: &Value) -> Option<Self> {
        let Value::Number(number) = claim else { return None };
        let seconds = match (number.as_u64(), number.as_f64()) {
            (Some(seconds), _) => seconds,
            (None, Some(seconds)) if seconds >= 0.0 => round_up(seconds),
            (None, _) => return None,
        };
        Some(Self(Timestamp::from_seconds(seconds)))
    }

    /// Whether the date has come: `now` is on or after it (RFC 7519, section 4.1.4: "on or after").
    pub(super) fn has_come(self, now: Timestamp) -> bool {
        now >= self.0
    }
}

/// Saturates at the end of the range.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from float saturates")]
fn round_up(seconds: f64) -> u64 {
    seconds.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Option<NumericDate> {
        NumericDate::read(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn jt_34_any_json_number_from_zero_on_is_a_date() {
        let cases = [
            ("100", 100),
            ("100.0", 100),
            ("100.5", 101),
            ("1.5e9", 1_500_000_000),
            ("0", 0),
            ("18446744073709551615", u64::MAX),
            ("18446744073709551616", u64::MAX),
            ("1e300", u64::MAX),
        ];
        for (text, seconds) in cases {
            assert_eq!(date(text), Some(NumericDate(Timestamp::from_seconds(seconds))), "{text}");
        }
        for text in ["null", "true", "\"100\"", "[100]", "{}", "-1", "-0.5", "-1e300"] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}
