//! Serialization and header: JWT-SVID.md, sections 1 and 2.

use super::*;

fn good() -> String {
    forge(Algorithm::Es256, &header(Algorithm::Es256).to_string(), &claims().to_string())
}

#[test]
fn jt_3_all_nine_algorithms_are_accepted() {
    for algorithm in Algorithm::ALL {
        let token = forge(algorithm, &header(algorithm).to_string(), &claims().to_string());
        let valid = verdict(&token).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!(valid.spiffe_id.as_str(), SUBJECT);
        assert_eq!(Value::Object(valid.claims), claims());
    }
}

#[test]
fn jt_1_only_the_compact_serialization_is_a_token() {
    let good = good();
    let parts: Vec<_> = good.split('.').collect();
    let json = json!({ "protected": parts[0], "payload": parts[1], "signature": parts[2] }).to_string();
    let (unsigned, detached) = (format!("{}.{}.", parts[0], parts[1]), format!("{}..{}", parts[0], parts[2]));
    let (two, jwe) = (format!("{}.{}", parts[0], parts[1]), format!("{good}.{}.{}", parts[1], parts[2]));
    for token in ["", ".", "..", "a", &json, &two, &unsigned, &detached, &jwe, &format!("{good}."), &format!(".{good}")]
    {
        assert_eq!(verdict(token).unwrap_err(), JwtSvidError::Form, "{token}");
    }
}

#[test]
fn jt_1_a_part_has_one_spelling_in_base64url() {
    let good = good();
    for (from, to) in [("", " "), (".", "=."), (".", "\n."), (".", "%."), ("", "=")] {
        let token = if from.is_empty() { format!("{good}{to}") } else { good.replacen(from, to, 1) };
        assert_eq!(verdict(&token).unwrap_err(), JwtSvidError::Encoding, "{to:?}");
    }
    // 64 bytes leave four unused bits in the last character of an ES256 signature.
    let last = good.chars().last().unwrap();
    assert!("AQgw".contains(last));
    let unused_bit_set = char::from(u8::try_from(last).unwrap() + 1);
    let token = format!("{}{unused_bit_set}", &good[..good.len() - 1]);
    assert_eq!(verdict(&token).unwrap_err(), JwtSvidError::Encoding);
    let standard_alphabet = forge(Algorithm::Es256, &header(Algorithm::Es256).to_string(), r#"{"a":"???>>>"}"#);
    assert!(standard_alphabet.contains(['-', '_']));
    let token = standard_alphabet.replace('-', "+").replace('_', "/");
    assert_eq!(verdict(&token).unwrap_err(), JwtSvidError::Encoding);
}

#[test]
fn jt_1_a_token_has_a_longest_length_and_the_longest_id_fits() {
    let path = "a".repeat(crate::spiffe_id::MAX_SPIFFE_ID_BYTES - "spiffe://example.org/".len());
    let longest = with(claims(), "sub", json!(format!("spiffe://example.org/{path}")));
    assert!(verdict_on_claims(&longest.to_string()).is_ok());
    let padded = with(claims(), "private", json!("x".repeat(MAX_TOKEN_BYTES)));
    assert_eq!(verdict_on_claims(&padded.to_string()).unwrap_err(), JwtSvidError::TooLong);
}

#[test]
fn jt_2_the_header_is_a_closed_set() {
    let parameters = [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
        ("jku", json!("https://example.org/keys")),
        ("jwk", json!({})),
        ("x5c", json!([])),
        ("x5u", json!("https://example.org/chain")),
        ("x5t#S256", json!("AA")),
        ("nonce", json!("1")),
        ("KID", json!("p256")),
    ];
    for (name, value) in parameters {
        let verdict = verdict_on_header(&with(header(Algorithm::Es256), name, value).to_string());
        assert_eq!(verdict.unwrap_err(), JwtSvidError::HeaderParameter, "{name}");
    }
}

#[test]
fn jt_3_other_algorithms_are_refused_before_anything_else_is_looked_at() {
    for name in ["none", "None", "HS256", "HS512", "EdDSA", "Ed25519", "ES256K", "es256", "RSA-OAEP", ""] {
        // The header breaks other rules too: the algorithm is what is told (section 4).
        let header = json!({ "alg": name, "kid": "", "typ": "at+jwt", "crit": [] }).to_string();
        assert_eq!(verdict_on_header(&header).unwrap_err(), JwtSvidError::Algorithm, "{name}");
    }
    for header in
        [json!({ "kid": "p256" }), json!({ "alg": null, "kid": "p256" }), json!({ "alg": ["ES256"], "kid": "p256" })]
    {
        assert_eq!(verdict_on_header(&header.to_string()).unwrap_err(), JwtSvidError::Algorithm, "{header}");
    }
}

#[test]
fn jt_4_a_token_that_names_no_key_is_refused() {
    assert_eq!(verdict_on_header(r#"{"alg":"ES256"}"#).unwrap_err(), JwtSvidError::KeyId);
    for kid in [json!(""), json!(null), json!(1), json!(["p256"])] {
        let verdict = verdict_on_header(&with(header(Algorithm::Es256), "kid", kid.clone()).to_string());
        assert_eq!(verdict.unwrap_err(), JwtSvidError::KeyId, "{kid}");
    }
}

#[test]
fn jt_5_typ_is_absent_or_jwt_or_jose() {
    assert!(verdict_on_header(&without(header(Algorithm::Es256), "typ").to_string()).is_ok());
    for typ in [json!("JWT"), json!("JOSE")] {
        assert!(verdict_on_header(&with(header(Algorithm::Es256), "typ", typ).to_string()).is_ok());
    }
    let others = ["jwt", "at+jwt", "wit+jwt", "wpt+jwt", "dpop+jwt", "txntoken+jwt", "statuslist+jwt", ""];
    for typ in others.map(Value::from).into_iter().chain([json!(null), json!(1), json!(["JWT"])]) {
        let verdict = verdict_on_header(&with(header(Algorithm::Es256), "typ", typ.clone()).to_string());
        assert_eq!(verdict.unwrap_err(), JwtSvidError::Type, "{typ}");
    }
}

#[test]
fn jt_35_a_header_that_is_not_one_object_with_unique_members_is_refused() {
    let doubled = r#"{"alg":"ES256","alg":"ES256","kid":"p256"}"#;
    for header in
        [doubled, r#"{"alg":"none","kid":"p256","\u0061lg":"ES256"}"#, "[]", "null", "{", "{}{}", "\u{feff}{}"]
    {
        assert_eq!(verdict_on_header(header).unwrap_err(), JwtSvidError::Header, "{header}");
    }
}
