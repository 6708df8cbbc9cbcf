//! A second opinion: the library that most Rust services check tokens with, under the
//! strictest settings it has. What we accept it accepts; what it accepts and we do not
//! is listed, each case with our reason.

use std::collections::HashMap;

use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use proptest::prelude::*;

use super::*;

/// The other library's verdict. It reads the machine's clock, so that the tokens here
/// are valid from 2020 to 2100 rather than around `NOW`.
fn other_accepts(token: &str) -> bool {
    let Ok(header) = decode_header(token) else { return false };
    let Some(kid) = header.kid else { return false };
    let bundle = bundle();
    let Some(authority) = bundle.jwt_authorities.iter().find(|authority| authority.kid == kid) else { return false };
    let key = match &authority.key {
        PublicKey::Ec { point, .. } => DecodingKey::from_ec_der(point),
        PublicKey::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
    };
    let mut rules = Validation::new(header.alg);
    rules.set_audience(&[AUDIENCE]);
    rules.set_required_spec_claims(&["exp", "aud", "sub"]);
    rules.leeway = 0;
    rules.validate_nbf = true;
    decode::<HashMap<String, Value>>(token, &key, &rules).is_ok()
}

fn long_lived() -> Value {
    let (from, to) = (1_577_836_800, 4_102_444_800_u64);
    json!({ "sub": SUBJECT, "aud": [AUDIENCE], "iat": from, "nbf": from, "exp": to, "jti": "one" })
}

/// Both verdicts on a token: ours, the other's.
fn both(algorithm: Algorithm, header: &Value, claims: &Value) -> (Result<(), JwtSvidError>, bool) {
    let token = forge(algorithm, &header.to_string(), &claims.to_string());
    (verdict(&token).map(|_| ()), other_accepts(&token))
}

#[test]
fn both_accept_good_tokens_of_every_algorithm_that_both_know() {
    for algorithm in Algorithm::ALL {
        // The other library has no P-521.
        let expected = (Ok(()), algorithm != Algorithm::Es512);
        assert_eq!(both(algorithm, &header(algorithm), &long_lived()), expected, "{algorithm}");
    }
}

#[test]
fn what_only_we_refuse_and_why() {
    let es256 = header(Algorithm::Es256);
    let cases = [
        // RFC 7515, section 4.1.11: an extension that is not understood must be refused.
        (with(es256.clone(), "crit", json!(["x"])), long_lived(), JwtSvidError::HeaderParameter),
        // JWT-SVID.md, section 2: no other parameters.
        (with(es256.clone(), "jku", json!("https://example.org")), long_lived(), JwtSvidError::HeaderParameter),
        (with(es256.clone(), "nonce", json!("x")), long_lived(), JwtSvidError::HeaderParameter),
        // JWT-SVID.md, section 2.3: another kind of token under the same key.
        (with(es256.clone(), "typ", json!("at+jwt")), long_lived(), JwtSvidError::Type),
        // JWT-SVID.md, section 3.1.
        (es256.clone(), with(long_lived(), "sub", json!("orders")), JwtSvidError::Subject),
        // SPIFFE-ID.md, section 3.1: the name of the authority, not of a workload.
        (es256.clone(), with(long_lived(), "sub", json!("spiffe://example.org")), JwtSvidError::Subject),
    ];
    for (header, claims, reason) in cases {
        assert_eq!(both(Algorithm::Es256, &header, &claims), (Err(reason), true), "{header} {claims}");
    }
}

#[test]
fn what_only_we_accept_and_why() {
    // JWT-SVID.md, section 3.3 sets no upper bound; a number past 64 bits is a date all the same.
    let far = with(long_lived(), "exp", json!(1e300));
    assert_eq!(both(Algorithm::Es256, &header(Algorithm::Es256), &far), (Ok(()), false));
}

/// Values that a claim may be changed to; `None` removes it.
fn odd_values() -> Vec<Option<Value>> {
    let numbers =
        [json!(0), json!(-1), json!(1.5), json!(-0.5), json!(4_102_444_800.5), json!(u64::MAX), json!(i64::MIN)];
    let texts = [json!(""), json!(AUDIENCE), json!(SUBJECT), json!("1"), json!("spiffe://example.org")];
    let others =
        [json!(null), json!(true), json!({}), json!([]), json!([1]), json!([AUDIENCE, "other"]), json!([null])];
    let values = numbers.into_iter().chain(texts).chain(others).map(Some);
    values.chain([None]).collect()
}

const CHANGEABLE: [&str; 6] = ["sub", "aud", "exp", "nbf", "iat", "jti"];

fn change(claims: &mut Value, name: &str, value: Option<Value>) {
    match value {
        Some(value) => claims[name] = value,
        None => drop(claims.as_object_mut().unwrap().remove(name)),
    }
}

#[test]
fn what_we_accept_the_other_accepts_for_every_single_change() {
    for name in CHANGEABLE {
        for value in odd_values() {
            let mut claims = long_lived();
            change(&mut claims, name, value);
            let (ours, other) = both(Algorithm::Es256, &header(Algorithm::Es256), &claims);
            assert!(ours.is_err() || other, "accepted only by us: {claims}");
        }
    }
}

proptest! {
    #[test]
    fn what_we_accept_the_other_accepts_for_several_changes(
        changes in prop::collection::vec((prop::sample::select(&CHANGEABLE), prop::sample::select(odd_values())), 2..5),
    ) {
        let mut claims = long_lived();
        changes.into_iter().for_each(|(name, value)| change(&mut claims, name, value));
        let (ours, other) = both(Algorithm::Es256, &header(Algorithm::Es256), &claims);
        prop_assert!(ours.is_err() || other, "accepted only by us: {claims}");
    }
}
