//! Forged and altered tokens: row T3 of the threats, JWT-SVID.md, section 4.

use aws_lc_rs::hmac;
use proptest::prelude::*;

use super::*;

fn good(algorithm: Algorithm) -> String {
    forge(algorithm, &header(algorithm).to_string(), &claims().to_string())
}

#[test]
fn t3_jt_3_hs256_with_the_public_key_as_its_secret_is_refused() {
    let PublicKey::Rsa { n, .. } = public_key("rsa") else { panic!("an RSA key") };
    let header = json!({ "alg": "HS256", "kid": "rsa", "typ": "JWT" }).to_string();
    let input = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims().to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &n), input.as_bytes());
    let token = format!("{input}.{}", BASE64URL.encode(tag.as_ref()));
    assert_eq!(verdict(&token).unwrap_err(), JwtSvidError::Algorithm);
}

#[test]
fn t3_jt_32_an_algorithm_that_does_not_fit_the_key_is_refused() {
    for algorithm in Algorithm::ALL {
        for key in KEYS.iter().filter(|key| key.kid != kid_for(algorithm)) {
            let header = with(header(algorithm), "kid", json!(key.kid)).to_string();
            let token = forge(algorithm, &header, &claims().to_string());
            assert_eq!(verdict(&token).unwrap_err(), JwtSvidError::KeyAlgorithm, "{algorithm} with {}", key.kid);
        }
    }
}

#[test]
fn t3_jt_32_a_key_that_says_its_algorithm_is_for_no_other() {
    let mut bundle = bundle();
    for authority in &mut bundle.jwt_authorities {
        authority.algorithm = (authority.kid == "rsa").then_some(Algorithm::Ps256);
    }
    let verdict = |algorithm| validate(&good(algorithm), AUDIENCE, NOW, |_| Some(&bundle));
    assert!(verdict(Algorithm::Ps256).is_ok());
    assert_eq!(verdict(Algorithm::Rs256).unwrap_err(), JwtSvidError::KeyAlgorithm);
    assert_eq!(verdict(Algorithm::Ps384).unwrap_err(), JwtSvidError::KeyAlgorithm);
}

#[test]
fn t3_jt_16_a_key_of_another_trust_domain_signs_nothing_for_this_one() {
    let (ours, mut theirs) = (bundle(), bundle());
    theirs.trust_domain = TrustDomain::parse("partner.example").unwrap();
    theirs.jwt_authorities.iter_mut().for_each(|authority| authority.kid = format!("their-{}", authority.kid));
    let bundle_of = |domain: &TrustDomain| [&ours, &theirs].into_iter().find(|bundle| bundle.trust_domain == *domain);

    let header = with(header(Algorithm::Es256), "kid", json!("their-p256")).to_string();
    let for_us = forge(Algorithm::Es256, &header, &claims().to_string());
    assert_eq!(validate(&for_us, AUDIENCE, NOW, bundle_of).unwrap_err(), JwtSvidError::Key);

    let their_claims = with(claims(), "sub", json!("spiffe://partner.example/orders/api")).to_string();
    let for_them = forge(Algorithm::Es256, &header, &their_claims);
    assert!(validate(&for_them, AUDIENCE, NOW, bundle_of).is_ok());
    assert_eq!(validate(&for_them, AUDIENCE, NOW, |_| None).unwrap_err(), JwtSvidError::TrustDomain);
    // A lookup that mixes domains up is not believed.
    assert_eq!(validate(&for_them, AUDIENCE, NOW, |_| Some(&ours)).unwrap_err(), JwtSvidError::TrustDomain);
}

#[test]
fn t3_an_unknown_key_and_an_empty_bundle_validate_nothing() {
    let header = with(header(Algorithm::Es256), "kid", json!("P256")).to_string();
    assert_eq!(verdict(&forge(Algorithm::Es256, &header, &claims().to_string())).unwrap_err(), JwtSvidError::Key);
    let mut bundle = bundle();
    bundle.jwt_authorities.clear();
    let verdict = validate(&good(Algorithm::Es256), AUDIENCE, NOW, |_| Some(&bundle));
    assert_eq!(verdict.unwrap_err(), JwtSvidError::Key);
}

#[test]
fn t3_the_signature_of_another_token_or_of_another_length_is_refused() {
    let other = forge(
        Algorithm::Es256,
        &header(Algorithm::Es256).to_string(),
        &with(claims(), "jti", json!("two")).to_string(),
    );
    let (input, _) = other.rsplit_once('.').unwrap();
    let good = good(Algorithm::Es256);
    let (_, signature) = good.rsplit_once('.').unwrap();
    let bytes = BASE64URL.decode(signature).unwrap();
    let forgeries =
        [bytes.clone(), vec![0; 64], vec![0], bytes[..63].to_vec(), [bytes, vec![0]].concat(), vec![0xff; 64]];
    for forgery in forgeries {
        let token = format!("{input}.{}", BASE64URL.encode(&forgery));
        assert_eq!(verdict(&token).unwrap_err(), JwtSvidError::Signature, "{} bytes", forgery.len());
    }
}

#[test]
fn t3_the_asn1_form_of_an_ecdsa_signature_is_refused() {
    let good = good(Algorithm::Es256);
    let (input, signature) = good.rsplit_once('.').unwrap();
    let fixed = BASE64URL.decode(signature).unwrap();
    let integer = |number: &[u8]| {
        let number: Vec<u8> = std::iter::once(0).chain(number.iter().copied()).collect();
        [vec![2, u8::try_from(number.len()).unwrap()], number].concat()
    };
    let body = [integer(&fixed[..32]), integer(&fixed[32..])].concat();
    let der = [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat();
    let token = format!("{input}.{}", BASE64URL.encode(der));
    assert_eq!(verdict(&token).unwrap_err(), JwtSvidError::Signature);
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(Algorithm::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn t3_a_token_with_one_bit_changed_is_refused(
        algorithm in any_algorithm(),
        byte: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let mut token = good(algorithm).into_bytes();
        let at = byte.index(token.len());
        token[at] ^= 1 << bit;
        if let Ok(text) = String::from_utf8(token) {
            prop_assert!(verdict(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn t3_no_text_makes_the_check_panic(text in "[A-Za-z0-9_.={}\"-]{0,200}") {
        prop_assert!(verdict(&text).is_err());
    }

    #[test]
    fn t3_no_header_or_claims_make_the_check_panic(header in "\\PC{0,60}", claims in "\\PC{0,60}") {
        prop_assert!(verdict(&forge(Algorithm::Es256, &header, &claims)).is_err());
    }
}
