//! A forge: signs whatever header and claims a test wants, with real keys.

mod attacks;
mod claims;
mod form;
mod issued;
mod second_opinion;

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};

use super::*;
use crate::bundle::{Bundle, Curve, JwtAuthority, PublicKey};
use crate::clock::Timestamp;
use crate::spiffe_id::TrustDomain;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const AUDIENCE: &str = "billing";
const SUBJECT: &str = "spiffe://example.org/orders/api";

/// A key of each kind, named after what it is.
enum Pair {
    Ec(EcdsaKeyPair, Curve),
    Rsa(RsaKeyPair),
}

struct ForgeKey {
    kid: &'static str,
    pair: Pair,
}

static KEYS: LazyLock<Vec<ForgeKey>> = LazyLock::new(|| {
    let ec =
        |algorithm: &'static EcdsaSigningAlgorithm, curve| Pair::Ec(EcdsaKeyPair::generate(algorithm).unwrap(), curve);
    vec![
        ForgeKey { kid: "p256", pair: ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, Curve::P256) },
        ForgeKey { kid: "p384", pair: ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, Curve::P384) },
        ForgeKey { kid: "p521", pair: ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, Curve::P521) },
        ForgeKey { kid: "rsa", pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) },
    ]
});

/// The name of the key that an algorithm is signed with.
fn kid_for(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "p256",
        Algorithm::Es384 => "p384",
        Algorithm::Es512 => "p521",
        _ => "rsa",
    }
}

fn public_key(kid: &str) -> PublicKey {
    match &KEYS.iter().find(|key| key.kid == kid).unwrap().pair {
        Pair::Ec(pair, curve) => PublicKey::Ec { curve: *curve, point: pair.public_key().as_ref().to_vec() },
        Pair::Rsa(pair) => PublicKey::Rsa {
            n: pair.public_key().modulus().big_endian_without_leading_zero().to_vec(),
            e: pair.public_key().exponent().big_endian_without_leading_zero().to_vec(),
        },
    }
}

/// The bundle of `example.org` with all the forge's keys; none says its algorithm.
fn bundle() -> Bundle {
    let authority = |key: &ForgeKey| JwtAuthority { kid: key.kid.into(), algorithm: None, key: public_key(key.kid) };
    Bundle {
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        sequence: 1,
        refresh_hint: Duration::from_secs(300),
        jwt_authorities: KEYS.iter().map(authority).collect(),
        x509_authorities: Vec::new(),
    }
}

/// Signs with the key of `algorithm`, whatever the text claims.
fn sign(algorithm: Algorithm, text: &str) -> Vec<u8> {
    let rng = SystemRandom::new();
    let padding: &'static dyn RsaEncoding = match algorithm {
        Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
        _ => &signature::RSA_PKCS1_SHA256,
    };
    match &KEYS.iter().find(|key| key.kid == kid_for(algorithm)).unwrap().pair {
        Pair::Ec(pair, _) => pair.sign(&rng, text.as_bytes()).unwrap().as_ref().to_vec(),
        Pair::Rsa(pair) => {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &rng, text.as_bytes(), &mut signature).unwrap();
            signature
        }
    }
}

/// A token of these texts, signed for real under `algorithm`.
fn forge(algorithm: Algorithm, header: &str, claims: &str) -> String {
    let input = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let signature = BASE64URL.encode(sign(algorithm, &input));
    format!("{input}.{signature}")
}

fn header(algorithm: Algorithm) -> Value {
    json!({ "alg": algorithm.name(), "kid": kid_for(algorithm), "typ": "JWT" })
}

fn claims() -> Value {
    let now = NOW.seconds();
    json!({ "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 300, "jti": "one" })
}

/// A value with one member set.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

/// A value without one of its members.
fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name).unwrap();
    object
}

/// The verdict on a token at `NOW`, for `AUDIENCE`, with the forge's bundle.
fn verdict(token: &str) -> Result<ValidatedJwtSvid, JwtSvidError> {
    let bundle = bundle();
    validate(token, AUDIENCE, NOW, |domain| (*domain == bundle.trust_domain).then_some(&bundle))
}

/// The verdict on an ES256 token with this header.
fn verdict_on_header(header: &str) -> Result<ValidatedJwtSvid, JwtSvidError> {
    verdict(&forge(Algorithm::Es256, header, &claims().to_string()))
}

/// The verdict on an ES256 token with these claims.
fn verdict_on_claims(claims: &str) -> Result<ValidatedJwtSvid, JwtSvidError> {
    verdict(&forge(Algorithm::Es256, &header(Algorithm::Es256).to_string(), claims))
}
