//! What holds for any certificate that `common` reads.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign_common::bundle::Bundle;
use countersign_common::svid::x509::{
    Certificate, MAX_CHAIN_CERTIFICATES, ValidatedX509Svid, X509SvidError, check_authority, concatenated, facts, pem,
    split, validate,
};

use super::vocabulary::{KEY, NOW, trust_domain};

/// The certificate of an authority `root`, of the key that nobody uses.
const AUTHORITY: &str = "\
    MIIBfzCCASWgAwIBAgIQQkJCQkJCQkJCQkJCQkJCQjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARyb290MB4XDTIwMDkxMzEyMjY0\
    MFoXDTMzMDUxODAzMzMyMFowDzENMAsGA1UEAwwEcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBdgFparhVGsw7CZ7EH/\
    zVXxAD8TpqtBvhfmWzZUOL5SYFjCbiq8a+PakLdXO+jW0NaHrY6TF67NzxplP93FFb2jYzBhMA8GA1UdEwEB/wQFMAMBAf8wDgYD\
    VR0PAQH/BAQDAgEGMB0GA1UdDgQWBBQEBAQEBAQEBAQEBAQEBAQEBAQEBDAfBgNVHREEGDAWhhRzcGlmZmU6Ly9leGFtcGxlLm9y\
    ZzAKBggqhkjOPQQDAgNIADBFAiEAgVD6NjNL46L/99zKL17GMsXlJ+nBjLLqXU5OI3xIcT8CIEzsIccb97WPzGQH8uQZZGWx30sg\
    yYWOUKpAExTgGCtL\
    ";

/// `bytes` as a chain in DER and in PEM, which no key signed; and as what a certificate says, that
/// the authority of the bundle signed: what is taken says in so many words that it may be.
///
/// # Panics
/// Something of that does not hold.
pub fn certificate(bytes: &[u8]) {
    let bundle = bundle_of_the_authority();
    let one = Certificate::from_der(bytes);
    let _ = check_authority(&one, &bundle.trust_domain);
    if let Ok(facts) = facts(&one) {
        assert!(!facts.serial.is_empty() && facts.serial.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
    if let Ok(chain) = split(bytes, MAX_CHAIN_CERTIFICATES) {
        assert_eq!(concatenated(&chain), bytes);
        assert!(check(&chain, &bundle).is_err(), "nobody signed this");
    }
    if let Some(chain) =
        std::str::from_utf8(bytes).ok().and_then(|text| pem::read_certificates(text, MAX_CHAIN_CERTIFICATES).ok())
    {
        assert_eq!(
            pem::read_certificates(&pem::write_certificates(&chain), MAX_CHAIN_CERTIFICATES).as_ref(),
            Ok(&chain)
        );
        assert!(check(&chain, &bundle).is_err(), "nobody signed this");
    }
    let chain = [signed(bytes)];
    let Ok(valid) = check(&chain, &bundle) else { return };
    let Ok(facts) = facts(&chain[0]) else { unreachable!("it was read before") };
    assert!(valid.spiffe_id.is_of(&bundle.trust_domain) && !valid.spiffe_id.path().is_empty());
    assert_eq!((facts.spiffe_id.as_ref(), facts.is_authority), (Some(&valid.spiffe_id), false));
    assert!(facts.not_before <= NOW && NOW <= valid.not_after && valid.not_after <= facts.not_after);
    assert_eq!(bundle.x509_authorities, [valid.authority]);
}

fn check(chain: &[Certificate], bundle: &Bundle) -> Result<ValidatedX509Svid, X509SvidError> {
    validate(chain, NOW, |_| Some(bundle))
}

fn bundle_of_the_authority() -> Bundle {
    let Ok(none) = Bundle::parse(trust_domain(), r#"{"keys":[]}"#) else { unreachable!("a key set") };
    let authority = Certificate::from_der(STANDARD.decode(AUTHORITY).unwrap_or_default());
    Bundle { x509_authorities: vec![authority], ..none }
}

/// A certificate that says `says`, signed by the authority with ECDSA and SHA-256.
fn signed(says: &[u8]) -> Certificate {
    const ALGORITHM: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let [secret, x, y] = KEY.map(|part| URL_SAFE_NO_PAD.decode(part).unwrap_or_default());
    let point = [&[4][..], &x, &y].concat();
    let key = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_ASN1_SIGNING, &secret, &point);
    let Some(signature) = key.ok().and_then(|key| key.sign(&SystemRandom::new(), says).ok()) else {
        unreachable!("a sound key")
    };
    let signature = element(3, &[&[0], signature.as_ref()].concat());
    Certificate::from_der(element(0x30, &[says, ALGORITHM, &signature].concat()))
}

/// An element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let octets: Vec<u8> = content.len().to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    let long = match (octets.as_slice(), u8::try_from(octets.len())) {
        ([] | [0..0x80], _) => None,
        (_, length) => length.ok(),
    };
    let length = match long {
        Some(length) => [&[0x80 | length], octets.as_slice()].concat(),
        None => vec![octets.first().copied().unwrap_or_default()],
    };
    [&[tag], length.as_slice(), content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_signs_certificates_that_are_taken() {
        let says = include_bytes!("../../../fuzz/corpus/certificate/says_leaf");
        check(&[signed(says)], &bundle_of_the_authority()).unwrap();
    }
}
