//! A text to a bundle: liberal about single keys, strict about the document.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Bundle, BundleError, jwk};
use crate::spiffe_id::TrustDomain;
use crate::strict_json;
use crate::svid::x509::Certificate;

/// The longest document that is read, in bytes: some two thousand keys.
pub const MAX_BUNDLE_BYTES: usize = 1024 * 1024;

/// How often to look again at a bundle that does not say (section 6.1).
pub const DEFAULT_REFRESH_HINT: Duration = Duration::from_secs(300);

pub(super) fn bundle(trust_domain: TrustDomain, text: &str) -> Result<Bundle, BundleError> {
    if text.len() > MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLarge);
    }
    let document =
        strict_json::parse_object(text.as_bytes()).map_err(|error| BundleError::NotAKeySet(error.to_string()))?;
    let Some(Value::Array(keys)) = document.get("keys") else {
        return Err(BundleError::NotAKeySet("it has no list \"keys\"".to_owned()));
    };
    let jwt_authorities: Vec<_> = keys.iter().filter_map(jwk::read).collect();
    // Taking the first or the last of two would let whoever adds a key to the set replace another one.
    let mut seen = BTreeSet::new();
    if let Some(repeated) = jwt_authorities.iter().find(|authority| !seen.insert(authority.kid.as_str())) {
        return Err(BundleError::RepeatedKeyId(repeated.kid.clone()));
    }
    Ok(Bundle {
        trust_domain,
        sequence: integer(&document, "spiffe_sequence")?.unwrap_or(0),
        refresh_hint: integer(&document, "spiffe_refresh_hint")?.map_or(DEFAULT_REFRESH_HINT, Duration::from_secs),
        jwt_authorities,
        x509_authorities: x509_authorities(keys),
    })
}

/// The union of all entries (X509-SVID.md, section 6.2), in the document's order.
fn x509_authorities(keys: &[Value]) -> Vec<Certificate> {
    let mut seen = BTreeSet::new();
    keys.iter().filter_map(jwk::read_x509).filter(|certificate| seen.insert(certificate.clone())).collect()
}

fn integer(document: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, BundleError> {
    document.get(name).map(|value| value.as_u64().ok_or(BundleError::NotAnInteger(name))).transpose()
}
