//! What holds for any text that `common` reads.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_common::bundle::Bundle;
use countersign_common::clock::Timestamp;
use countersign_common::document::MAX_PROBLEMS;
use countersign_common::entry::{parse_entries, to_yaml};
use countersign_common::selector::Selector;
use countersign_common::spiffe_id::{MAX_SPIFFE_ID_BYTES, SpiffeId, TrustDomain};
use countersign_common::svid::jwt::{JwtSvidError, ValidatedJwtSvid, validate};
use countersign_common::svid::x509::{check_anchor, split};

/// `bytes` as a file of entries: what is read is read again from what is written of it.
///
/// # Panics
/// It is not; or a refusal gives no reason.
pub fn entries(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match parse_entries("file", text, None) {
        Ok(entries) => {
            let written: String = entries.iter().map(|entry| format!("---\n{}", to_yaml(entry))).collect();
            assert_eq!(parse_entries("file", &written, None).as_ref(), Ok(&entries), "{written}");
        }
        Err(problems) => assert!((1..=MAX_PROBLEMS).contains(&problems.len())),
    }
}

/// `bytes` as a selector: it has one spelling.
///
/// # Panics
/// It has two.
pub fn selector(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(selector) = text.parse::<Selector>() {
        assert_eq!(selector.to_string(), text);
    }
}

/// `bytes` as a SPIFFE ID and as a trust domain: each has one spelling and no character that the
/// standard does not name (SPIFFE-ID.md, section 2).
///
/// # Panics
/// Something of that does not hold.
pub fn spiffe_id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let is_of_name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(byte);
    if let Ok(domain) = TrustDomain::parse(text) {
        assert_eq!((domain.as_str(), SpiffeId::parse(domain.id().as_str())), (text, Ok(domain.id())));
        assert!(text.bytes().all(|byte| is_of_name(&byte)));
    }
    if let Ok(id) = SpiffeId::parse(text) {
        let domain = id.trust_domain();
        assert_eq!(format!("spiffe://{domain}{}", id.path()), text);
        assert_eq!((id.as_str(), id.is_of(&domain)), (text, true));
        assert_eq!(TrustDomain::parse(domain.as_str()), Ok(domain));
        assert!(text.len() <= MAX_SPIFFE_ID_BYTES);
        let mut segments = id.path().split('/');
        assert_eq!(segments.next(), Some(""), "a path begins with a slash");
        for segment in segments {
            assert!(!matches!(segment, "" | "." | ".."));
            assert!(segment.bytes().all(|byte| byte.is_ascii_uppercase() || is_of_name(&byte)));
        }
    }
}

/// `bytes` as a bundle: what is read is read again from both documents that are written of it, its
/// certificates are those of authorities, and they stay in their order on the wire.
///
/// # Panics
/// It is not.
pub fn bundle(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let domain = trust_domain();
    let Ok(bundle) = Bundle::parse(domain.clone(), text) else { return };
    let keys = Bundle::parse(domain.clone(), &bundle.to_jwks()).map(|read| read.jwt_authorities);
    assert_eq!(keys.as_ref(), Ok(&bundle.jwt_authorities));
    assert!(bundle.x509_authorities.iter().all(|authority| check_anchor(authority).is_ok()));
    let most = bundle.x509_authorities.len();
    assert_eq!(split(&bundle.to_x509_der(), most).as_ref(), Ok(&bundle.x509_authorities));
    let of_the_workload_api = Bundle::parse(domain.clone(), &bundle.to_jwks()).map(|read| read.x509_authorities);
    assert_eq!(of_the_workload_api, Ok(Vec::new()));
    let mut without_algorithms = bundle;
    without_algorithms.jwt_authorities.iter_mut().for_each(|authority| authority.algorithm = None);
    assert_eq!(Bundle::parse(domain, &without_algorithms.to_spiffe_document()), Ok(without_algorithms));
}

pub(super) fn trust_domain() -> TrustDomain {
    let Ok(domain) = TrustDomain::parse("example.org") else { unreachable!("a good name") };
    domain
}

/// A key that nobody uses: `d`, `x` and `y` of its JSON Web Key.
pub(super) const KEY: [&str; 3] = [
    "Btnq-6v2YDM1ExEHn_CTJQ5r4iva0nxeX5VxdfjKJvU",
    "F2AWlquFUazDsJnsQf_NVfEAPxOmq0G-F-ZbNlQ4vlI",
    "YFjCbiq8a-PakLdXO-jW0NaHrY6TF67NzxplP93FFb0",
];
/// Its name in the bundle that tokens are checked against.
const KID: &str = "unused";
const AUDIENCE: &str = "billing";
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// `bytes` as a token, which no key signed; and as header and claims, on a line each, that the
/// key of the bundle signed: what is taken says in so many words that it may be.
///
/// # Panics
/// Something of that does not hold.
pub fn jwt(bytes: &[u8]) {
    let bundle = bundle_of_the_key();
    if let Ok(token) = std::str::from_utf8(bytes) {
        assert!(check(token, &bundle).is_err(), "nobody signed this");
    }
    let (header, claims) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len()));
    let token = signed(header, claims.get(1..).unwrap_or_default());
    let Ok(valid) = check(&token, &bundle) else { return };
    let claim = |name: &str| valid.claims.get(name);
    assert_eq!(claim("sub").and_then(|sub| sub.as_str()), Some(valid.spiffe_id.as_str()));
    assert!(valid.spiffe_id.is_of(&bundle.trust_domain) && !valid.spiffe_id.path().is_empty());
    let is_ours = |aud: &serde_json::Value| aud == AUDIENCE;
    assert!(claim("aud").is_some_and(|aud| is_ours(aud) || aud.as_array().is_some_and(|all| all.iter().any(is_ours))));
    let seconds = |name| claim(name).and_then(serde_json::Value::as_f64);
    // As far as floating-point numbers tell.
    assert!(seconds("exp").is_some_and(|exp| exp > 1.699e9));
    assert!(seconds("nbf").is_none_or(|nbf| nbf < 1.701e9));
    let header: serde_json::Value = serde_json::from_slice(header).unwrap_or_default();
    assert_eq!((&header["alg"], &header["kid"]), (&"ES256".into(), &KID.into()));
}

fn check(token: &str, bundle: &Bundle) -> Result<ValidatedJwtSvid, JwtSvidError> {
    validate(token, AUDIENCE, NOW, |_| Some(bundle))
}

fn bundle_of_the_key() -> Bundle {
    let [_, x, y] = KEY;
    let jwks = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{KID}","x":"{x}","y":"{y}"}}]}}"#);
    let Ok(bundle) = Bundle::parse(trust_domain(), &jwks) else { unreachable!("a key set") };
    bundle
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let [secret, x, y] = KEY.map(|part| URL_SAFE_NO_PAD.decode(part).unwrap_or_default());
    let point = [&[4][..], &x, &y].concat();
    let key = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &secret, &point);
    let mut token = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let Some(signature) = key.ok().and_then(|key| key.sign(&SystemRandom::new(), token.as_bytes()).ok()) else {
        unreachable!("a sound key")
    };
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_signs_tokens_that_are_taken() {
        let header = br#"{"alg":"ES256","kid":"unused"}"#;
        let claims = br#"{"sub":"spiffe://example.org/a","aud":"billing","exp":1700000001}"#;
        check(&signed(header, claims), &bundle_of_the_key()).unwrap();
    }
}
