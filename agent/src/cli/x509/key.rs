//! Whether a private key is that of a certificate.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use countersign_common::secret::SecretBytes;
use countersign_common::svid::x509::Certificate;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Whether `key`, PKCS#8 in DER, is the one whose public part is in `certificate`. A key of a kind
/// that no X509-SVID has is not.
pub(super) fn belongs_to(key: &SecretBytes, certificate: &Certificate) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate.der()) else { return false };
    let public = certificate.public_key().subject_public_key.data.as_ref();
    public_part(key.expose()).is_some_and(|own| own == public)
}

/// The bits of the public key, as a certificate has them (RFC 5280, section 4.1).
fn public_part(pkcs8: &[u8]) -> Option<Vec<u8>> {
    let curves = [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING];
    let on_curve = |curve| EcdsaKeyPair::from_pkcs8(curve, pkcs8).ok().map(|key| key.public_key().as_ref().to_vec());
    let rsa = || RsaKeyPair::from_pkcs8(pkcs8).ok().map(|key| key.public_key().as_ref().to_vec());
    let ed25519 = || Ed25519KeyPair::from_pkcs8(pkcs8).ok().map(|key| key.public_key().as_ref().to_vec());
    curves.into_iter().find_map(on_curve).or_else(rsa).or_else(ed25519)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};

    use super::*;

    #[test]
    fn keys_of_every_kind_belong_to_their_own_certificate_only() {
        let made = [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ED25519,
            &PKCS_RSA_SHA256,
        ]
        .map(|kind| {
            let key = rcgen::KeyPair::generate_for(kind).unwrap();
            let certificate = CertificateParams::default().self_signed(&key).unwrap();
            (SecretBytes::new(key.serialize_der()), Certificate::from_der(certificate.der().to_vec()))
        });
        for (of_key, (key, _)) in made.iter().enumerate() {
            for (of_certificate, (_, certificate)) in made.iter().enumerate() {
                assert_eq!(belongs_to(key, certificate), of_key == of_certificate, "{of_key} {of_certificate}");
            }
        }
        let (_, certificate) = &made[0];
        assert!(!belongs_to(&SecretBytes::new(vec![]), certificate));
        assert!(!belongs_to(&made[0].0, &Certificate::from_der(vec![0x30, 0x00])));
    }
}
