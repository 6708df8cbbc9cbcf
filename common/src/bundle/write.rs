//! A bundle to the documents that publish it. Members come in alphabetical order, so
//! that equal bundles are equal texts.

use serde_json::{Value, json};

use super::{Bundle, JwtAuthority, jwk};

/// For the Workload API (SPIFFE_Workload_API.md, section 6.2.2): a plain JWK Set. `alg`
/// is written where the key has one algorithm, so that a validator cannot be talked into another.
pub(super) fn jwks(bundle: &Bundle) -> String {
    json!({ "keys": keys(bundle, |authority| Some(("alg", authority.algorithm?.name()))) }).to_string()
}

/// For bundle endpoints and operators (section 4): `use` is mandatory there, and members
/// that the standard does not name are not wanted (section 4.2).
pub(super) fn spiffe_document(bundle: &Bundle) -> String {
    let mut all = x509_keys(bundle);
    all.extend(keys(bundle, |_| Some(("use", "jwt-svid"))));
    json!({
        "keys": all,
        "spiffe_sequence": bundle.sequence,
        "spiffe_refresh_hint": bundle.refresh_hint.as_secs(),
    })
    .to_string()
}

/// The X.509 authorities, one key each (X509-SVID.md, section 6.1).
fn x509_keys(bundle: &Bundle) -> Vec<Value> {
    let one = |certificate| {
        let mut members = jwk::write_x509(certificate)?;
        members.insert("use".to_owned(), Value::from("x509-svid"));
        Some(Value::Object(members))
    };
    bundle.x509_authorities.iter().filter_map(one).collect()
}

/// The keys of JWT-SVIDs, each with one more member.
fn keys(bundle: &Bundle, also: impl Fn(&JwtAuthority) -> Option<(&'static str, &'static str)>) -> Vec<Value> {
    let one = |authority: &JwtAuthority| {
        let mut members = jwk::write(authority);
        if let Some((name, value)) = also(authority) {
            members.insert(name.to_owned(), Value::from(value));
        }
        Value::Object(members)
    };
    bundle.jwt_authorities.iter().map(one).collect()
}
