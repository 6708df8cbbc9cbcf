//! The X.509 authorities of a bundle document: X509-SVID.md, section 6.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::*;
use crate::svid::x509::tests::authority_draft;
use crate::svid::x509::tests::forge::{
    BASIC_CONSTRAINTS, Draft, KEY_USAGE, Key, bits, constraints, oid, sequence, tlv,
};

fn certificate(key: &Key, change: impl FnOnce(Draft) -> Draft) -> Certificate {
    change(authority_draft("root", key, [1; 20])).signed(key)
}

pub(super) fn p256() -> Certificate {
    certificate(&Key::p256(), |draft| draft)
}

fn bundle_of(x509_authorities: Vec<Certificate>) -> Bundle {
    Bundle { x509_authorities, ..parse(&json!({ "keys": [ec_key("k")], "spiffe_sequence": 3 })).unwrap() }
}

fn keys(document: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(document).unwrap()["keys"].as_array().unwrap().clone()
}

/// The key that a good bundle document has for `certificate`.
fn key_of(certificate: &Certificate) -> Value {
    keys(&bundle_of(vec![certificate.clone()]).to_spiffe_document()).remove(0)
}

/// The authorities that are left of these keys.
fn authorities(keys: &[Value]) -> Vec<Certificate> {
    parse(&json!({ "keys": keys })).unwrap().x509_authorities
}

fn x5c(certificates: &[&Certificate]) -> Value {
    json!(certificates.iter().map(|certificate| STANDARD.encode(certificate.der())).collect::<Vec<_>>())
}

#[test]
fn xb_1_xb_2_bu_7_a_key_has_its_use_one_certificate_its_parameters_and_nothing_else() {
    let key = Key::p256();
    let certificate = certificate(&key, |draft| draft);
    let spki = key.spki();
    let (x, y) = spki[spki.len() - 64..].split_at(32);
    let expected = json!({
        "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        "use": "x509-svid", "x5c": [STANDARD.encode(certificate.der())],
    });
    let jwt = with(ec_key("k"), "use", json!("jwt-svid"));
    assert_eq!(keys(&bundle_of(vec![certificate]).to_spiffe_document()), [expected, jwt]);
}

#[test]
fn xb_2_every_type_of_key_has_the_parameters_that_it_requires() {
    for (kind, key) in Key::of_every_kind() {
        let written = key_of(&certificate(&key, |draft| draft));
        let names: Vec<_> = written.as_object().unwrap().keys().map(String::as_str).collect();
        let is_rsa = kind.starts_with("RSA") || kind.starts_with("PSS");
        let expected: &[&str] =
            if is_rsa { &["e", "kty", "n", "use", "x5c"] } else { &["crv", "kty", "use", "x", "x5c", "y"] };
        assert_eq!(names, expected, "{kind}");
    }
}

#[test]
fn a_bundle_of_every_type_of_key_is_read_back() {
    let all: Vec<_> = Key::of_every_kind().iter().map(|(_, key)| certificate(key, |draft| draft)).collect();
    let bundle = bundle_of(all);
    assert_eq!(Bundle::parse(domain(), &bundle.to_spiffe_document()), Ok(bundle));
}

#[test]
fn wa_14_the_workload_api_document_has_no_x509_keys() {
    let bundle = bundle_of(vec![p256()]);
    assert_eq!(keys(&bundle.to_jwks()), [ec_key("k")]);
}

#[test]
fn xb_3_an_entry_without_certificate_is_passed_over() {
    let (one, other) = (p256(), p256());
    let broken = [
        without(key_of(&one), "x5c"),
        with(key_of(&one), "x5c", json!([])),
        with(key_of(&one), "x5c", json!(null)),
        with(key_of(&one), "x5c", json!(STANDARD.encode(one.der()))),
        with(key_of(&one), "x5c", json!([1])),
        key_of(&other),
    ];
    assert_eq!(authorities(&broken), [other]);
}

#[test]
fn xb_3_of_several_certificates_the_first_counts() {
    let (one, other) = (p256(), p256());
    assert_eq!(authorities(&[with(key_of(&one), "x5c", x5c(&[&one, &other]))]), std::slice::from_ref(&one));
    // The key beside it is the first one's (RFC 7517, section 4.7).
    assert_eq!(authorities(&[with(key_of(&one), "x5c", x5c(&[&other, &one]))]), []);
}

#[test]
fn xb_3_all_entries_together_are_the_authorities_each_once() {
    let (one, other) = (p256(), p256());
    assert_eq!(authorities(&[key_of(&other), key_of(&one), key_of(&other)]), [other, one]);
    assert_eq!(authorities(&[ec_key("k")]), []);
}

#[test]
fn bu_6_only_the_use_of_x509_svids_makes_an_authority() {
    let one = p256();
    for other in [json!("jwt-svid"), json!("X509-SVID"), json!("sig"), json!(null), json!(["x509-svid"])] {
        assert_eq!(authorities(&[with(key_of(&one), "use", other)]), []);
    }
    assert_eq!(authorities(&[without(key_of(&one), "use")]), []);
    // Nor is such a key one for JWT-SVIDs, even if it has a name (XB-1 forbids to give it one).
    let named = with(key_of(&one), "kid", json!("name"));
    assert_eq!(usable(std::slice::from_ref(&named)), Vec::<String>::new());
    assert_eq!(authorities(&[named]), [one]);
}

#[test]
fn bu_5_an_unknown_type_of_key_is_passed_over() {
    let key = Key::p256();
    let ed25519 = sequence(&[&sequence(&[&oid(&[0x2b, 0x65, 0x70])]), &tlv(0x03, &[0; 33])]);
    let of_ed25519 = certificate(&key, |draft| draft.but(|draft| draft.spki = ed25519));
    let okp = json!({ "kty": "OKP", "crv": "Ed25519", "x": X, "use": "x509-svid", "x5c": x5c(&[&of_ed25519]) });
    let one = p256();
    assert_eq!(authorities(&[okp, with(key_of(&one), "kty", json!("oct")), key_of(&one)]), [one]);
    assert_eq!(keys(&bundle_of(vec![of_ed25519]).to_spiffe_document()).len(), 1, "nor is it written");
}

#[test]
fn a_certificate_that_is_no_authority_is_passed_over() {
    let key = Key::p256();
    let good = key_of(&certificate(&key, |draft| draft));
    let with_certificate = |change: fn(Draft) -> Draft| with(good.clone(), "x5c", x5c(&[&certificate(&key, change)]));
    assert_eq!(authorities(&[with_certificate(|draft| draft)]).len(), 1);
    let none = [
        with_certificate(|draft| draft.with(BASIC_CONSTRAINTS, true, &constraints(false, None))),
        with_certificate(|draft| draft.without(BASIC_CONSTRAINTS)),
        with_certificate(|draft| draft.with(KEY_USAGE, true, &bits(&[0]))),
        with_certificate(|draft| draft.with(99, true, b"not understood")),
        with_certificate(|draft| draft.but(|draft| draft.version = vec![])),
        with(good.clone(), "x5c", json!([STANDARD.encode(b"no certificate")])),
        with(good.clone(), "x5c", json!(["*"])),
        with(good.clone(), "x", json!(X)),
        without(good.clone(), "y"),
        without(good.clone(), "kty"),
    ];
    assert_eq!(authorities(&none), []);
}

#[test]
fn x5c_is_standard_base64() {
    // Serial numbers until the two alphabets differ.
    let key = Key::p256();
    let differs = |certificate: &Certificate| STANDARD.encode(certificate.der()).contains(['+', '/']);
    let certificate = (0..=255)
        .map(|number| {
            certificate(&key, |draft| draft.but(|draft| draft.serial = vec![0x40, number, 0xff, 0xff, 0xff, 0xff]))
        })
        .find(differs)
        .unwrap();
    let good = key_of(&certificate);
    assert_eq!(authorities(std::slice::from_ref(&good)).len(), 1);
    let url_safe = base64::engine::general_purpose::URL_SAFE.encode(certificate.der());
    assert_eq!(authorities(&[with(good, "x5c", json!([url_safe]))]), []);
}

#[test]
fn the_bundle_on_the_wire_is_its_certificates_one_after_the_other() {
    let (one, other) = (p256(), p256());
    let bundle = bundle_of(vec![one.clone(), other.clone()]);
    assert_eq!(bundle.to_x509_der(), [one.der(), other.der()].concat());
    assert_eq!(bundle_of(vec![]).to_x509_der(), Vec::<u8>::new());
}
