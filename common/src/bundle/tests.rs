//! Bundle documents: what is written, what is read back, what is left out or refused.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING};
use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod x509;

/// The P-256 key of RFC 7517, appendix A.1.
const X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
/// The RSA modulus of 2048 bits of the same appendix.
const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn ec_key(kid: &str) -> Value {
    json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": kid })
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

fn without(mut key: Value, name: &str) -> Value {
    key.as_object_mut().unwrap().remove(name).unwrap();
    key
}

fn parse(document: &Value) -> Result<Bundle, BundleError> {
    Bundle::parse(domain(), &document.to_string())
}

/// Key ids that are left of these keys.
fn usable(keys: &[Value]) -> Vec<String> {
    parse(&json!({ "keys": keys })).unwrap().jwt_authorities.into_iter().map(|authority| authority.kid).collect()
}

#[test]
fn bu_5_bu_6_jt_15_keys_that_are_not_for_jwt_svids_are_left_out() {
    let keys = [
        ec_key("plain"),
        with(ec_key("svid"), "use", json!("jwt-svid")),
        with(ec_key("sig"), "use", json!("sig")),
        with(ec_key("x509"), "use", json!("x509-svid")),
        with(ec_key("wit"), "use", json!("wit-svid")),
        with(ec_key("enc"), "use", json!("enc")),
        with(ec_key("case"), "use", json!("JWT-SVID")),
        with(ec_key("number"), "use", json!(1)),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": X, "kid": "ed25519" }),
        json!({ "kty": "oct", "k": X, "kid": "oct" }),
        json!({ "kid": "no-type" }),
        without(ec_key("no-kid"), "kid"),
        with(ec_key(""), "kid", json!("")),
        json!("not even an object"),
    ];
    assert_eq!(usable(&keys), ["plain", "svid", "sig"]);
}

#[test]
fn jt_10_keys_that_are_not_sound_are_left_out() {
    let rsa = |n: &str, e: &str| json!({ "kty": "RSA", "n": n, "e": e, "kid": format!("{n:.5}-{e}") });
    let short = "w".repeat(340);
    let keys = [
        rsa(N, "AQAB"),
        rsa(&format!("AA{}", &short[2..]), "AQAB"),
        rsa(N, "AQ"),
        rsa(N, "Ag"),
        rsa(N, ""),
        rsa("", "AQAB"),
        rsa(&"_".repeat(1400), "AQAB"),
        with(ec_key("off-curve"), "y", json!(X)),
        with(ec_key("short"), "x", json!("AQAB")),
        with(ec_key("padded"), "x", json!(format!("{X}="))),
        with(ec_key("other-curve"), "crv", json!("P-384")),
        with(ec_key("unknown-curve"), "crv", json!("secp256k1")),
        with(ec_key("no-such-alg"), "alg", json!("HS256")),
        with(ec_key("alg-of-rsa"), "alg", json!("RS256")),
        with(ec_key("alg-of-p384"), "alg", json!("ES384")),
        with(ec_key("own-alg"), "alg", json!("ES256")),
    ];
    assert_eq!(usable(&keys), ["0vx7a-AQAB", "own-alg"]);
}

#[test]
fn a_zero_octet_in_front_of_an_rsa_modulus_is_dropped() {
    use base64::Engine;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let padded = engine.encode([vec![0], engine.decode(N).unwrap()].concat());
    let read = |n: &str| parse(&json!({ "keys": [{ "kty": "RSA", "n": n, "e": "AQAB", "kid": "k" }] })).unwrap();
    assert_eq!(read(&padded), read(N));
    assert_eq!(read(N).jwt_authorities.len(), 1);
}

#[test]
fn bu_4_an_empty_set_is_a_bundle_that_validates_nothing() {
    assert_eq!(parse(&json!({ "keys": [] })).unwrap().jwt_authorities, []);
}

#[test]
fn bu_4_a_text_that_is_no_key_set_is_refused() {
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, "<html>", r#"{"keys":[],"keys":[]}"#] {
        assert!(matches!(Bundle::parse(domain(), text), Err(BundleError::NotAKeySet(_))), "{text}");
    }
    let huge = format!("{}{{\"keys\":[]}}", " ".repeat(MAX_BUNDLE_BYTES));
    assert_eq!(Bundle::parse(domain(), &huge), Err(BundleError::TooLarge));
}

#[test]
fn two_usable_keys_of_one_name_refuse_the_set() {
    let twice = json!({ "keys": [ec_key("k"), with(ec_key("k"), "use", json!("sig"))] });
    assert_eq!(parse(&twice), Err(BundleError::RepeatedKeyId("k".into())));
    let one_usable = json!({ "keys": [ec_key("k"), with(ec_key("k"), "use", json!("x509-svid"))] });
    assert_eq!(parse(&one_usable).unwrap().jwt_authorities.len(), 1);
}

#[test]
fn bu_2_bu_3_sequence_and_hint_are_integers_or_absent() {
    let absent = parse(&json!({ "keys": [] })).unwrap();
    assert_eq!((absent.sequence, absent.refresh_hint), (0, DEFAULT_REFRESH_HINT));
    let present = parse(&json!({ "keys": [], "spiffe_sequence": u64::MAX, "spiffe_refresh_hint": 7 })).unwrap();
    assert_eq!((present.sequence, present.refresh_hint), (u64::MAX, Duration::from_secs(7)));
    for value in [json!(-1), json!(1.5), json!("1"), json!(null)] {
        let sequence = json!({ "keys": [], "spiffe_sequence": value });
        assert_eq!(parse(&sequence), Err(BundleError::NotAnInteger("spiffe_sequence")), "{value}");
        let hint = json!({ "keys": [], "spiffe_refresh_hint": value });
        assert_eq!(parse(&hint), Err(BundleError::NotAnInteger("spiffe_refresh_hint")), "{value}");
    }
}

#[test]
fn c3_the_workload_api_document_has_no_use_and_the_spiffe_document_has() {
    let bundle = parse(&json!({ "keys": [with(ec_key("k"), "alg", json!("ES256"))], "spiffe_sequence": 3 })).unwrap();
    let jwks: Value = serde_json::from_str(&bundle.to_jwks()).unwrap();
    assert_eq!(jwks, json!({ "keys": [with(ec_key("k"), "alg", json!("ES256"))] }));
    let document: Value = serde_json::from_str(&bundle.to_spiffe_document()).unwrap();
    let keys = [with(ec_key("k"), "use", json!("jwt-svid"))];
    assert_eq!(document, json!({ "keys": keys, "spiffe_sequence": 3, "spiffe_refresh_hint": 300 }));
}

fn any_authority() -> impl Strategy<Value = (PublicKey, Algorithm)> {
    let generate = |algorithm: &'static EcdsaSigningAlgorithm, curve| {
        let point = EcdsaKeyPair::generate(algorithm).unwrap().public_key().as_ref().to_vec();
        PublicKey::Ec { curve, point }
    };
    prop_oneof![
        Just(()).prop_map(move |()| (generate(&ECDSA_P256_SHA256_FIXED_SIGNING, Curve::P256), Algorithm::Es256)),
        Just(()).prop_map(move |()| (generate(&ECDSA_P384_SHA384_FIXED_SIGNING, Curve::P384), Algorithm::Es384)),
        Just(()).prop_map(move |()| (generate(&ECDSA_P521_SHA512_FIXED_SIGNING, Curve::P521), Algorithm::Es512)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_is_written_is_read_back(
        keys in prop::collection::btree_map("\\PC{1,12}", any_authority(), 0..4),
        sequence: u64,
        hint: u32,
        authorities in 0..3_usize,
    ) {
        let authority = |(kid, (key, algorithm))| JwtAuthority { kid, algorithm: Some(algorithm), key };
        let bundle = Bundle {
            trust_domain: domain(),
            sequence,
            refresh_hint: Duration::from_secs(hint.into()),
            jwt_authorities: keys.into_iter().map(authority).collect(),
            x509_authorities: (0..authorities).map(|_| x509::p256()).collect(),
        };
        let from_jwks = Bundle::parse(domain(), &bundle.to_jwks()).unwrap();
        prop_assert_eq!(&from_jwks.jwt_authorities, &bundle.jwt_authorities);

        let mut unnamed_algorithms = bundle.clone();
        unnamed_algorithms.jwt_authorities.iter_mut().for_each(|authority| authority.algorithm = None);
        prop_assert_eq!(Bundle::parse(domain(), &bundle.to_spiffe_document()).unwrap(), unnamed_algorithms);
    }
}
