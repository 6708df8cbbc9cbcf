//! One X509-SVID with a private key of its own, which is nowhere but in what this returns.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use countersign_common::secret::SecretBytes;
use countersign_common::svid::x509::X509Svid;

use crate::authority::{Authority, AuthorityError, SignedX509};
use crate::policy::X509Grant;

/// Makes a key (P-256) and has the authority sign for it. No key is used twice, and none is kept.
///
/// # Errors
/// The authority cannot sign now, or the crypto library failed; trying again may help.
pub async fn issue_x509(authority: &dyn Authority, grant: &X509Grant) -> Result<X509Svid, AuthorityError> {
    let (key, public_key) = make_key().map_err(|Unspecified| AuthorityError::Crypto("make the key of an X509-SVID"))?;
    let SignedX509 { chain, not_before, not_after, serial, authority } =
        authority.sign_x509(grant, &public_key).await?;
    Ok(X509Svid { spiffe_id: grant.spiffe_id().clone(), chain, key, not_before, not_after, serial, authority })
}

/// The private key as PKCS#8 (RFC 5208), which is how the Workload API hands it out, and the public
/// key as SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7). The library wipes its own copies.
fn make_key() -> Result<(SecretBytes, Vec<u8>), Unspecified> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let private = SecretBytes::new(pair.to_pkcs8v1()?.as_ref().to_vec());
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok((private, public.as_ref().to_vec()))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};

    use super::*;

    #[test]
    fn the_private_key_belongs_to_the_public_key_and_is_never_the_same() {
        let (first, second) = (make_key().unwrap(), make_key().unwrap());
        assert_ne!(first.0.expose(), second.0.expose());
        for (private, public) in [&first, &second] {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, private.expose()).unwrap();
            let signature = pair.sign(&SystemRandom::new(), b"text").unwrap();
            let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public).unwrap();
            assert!(public.verify_sig(b"text", signature.as_ref()).is_ok());
        }
    }
}
