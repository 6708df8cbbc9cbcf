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
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use async_trait::async_trait;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
    use countersign_common::bundle::BundleSet;
    use countersign_common::clock::Timestamp;
    use countersign_common::entry::EntrySet;
    use countersign_common::spiffe_id::{SpiffeId, TrustDomain};
    use countersign_common::svid::jwt::JwtSvid;
    use countersign_common::svid::x509::Certificate;
    use tokio::sync::watch;

    use super::*;
    use crate::policy::{Grant, x509_grant_for_tests};

    /// Remembers for which keys it was asked to sign.
    #[derive(Default)]
    struct Remembering(Mutex<Vec<Vec<u8>>>);

    #[async_trait]
    impl Authority for Remembering {
        fn trust_domain(&self) -> &TrustDomain {
            panic!("not asked here")
        }

        fn entries(&self) -> watch::Receiver<Arc<EntrySet>> {
            panic!("not asked here")
        }

        fn bundles(&self) -> watch::Receiver<Arc<BundleSet>> {
            panic!("not asked here")
        }

        async fn sign_jwt(&self, _: &Grant) -> Result<JwtSvid, AuthorityError> {
            panic!("not asked here")
        }

        async fn sign_x509(&self, _: &X509Grant, public_key: &[u8]) -> Result<SignedX509, AuthorityError> {
            self.0.lock().unwrap().push(public_key.to_owned());
            Ok(SignedX509 {
                chain: vec![Certificate::from_der(b"leaf".to_vec())],
                not_before: Timestamp::from_seconds(1),
                not_after: Timestamp::from_seconds(2),
                serial: "01".to_owned(),
                authority: "a1".to_owned(),
            })
        }
    }

    #[tokio::test]
    async fn each_svid_has_a_private_key_of_its_own_that_belongs_to_what_was_signed() {
        let (authority, id) = (Remembering::default(), SpiffeId::parse("spiffe://example.org/a").unwrap());
        let grant = x509_grant_for_tests(id.clone(), vec![], Duration::from_secs(60));
        let first = issue_x509(&authority, &grant).await.ok().unwrap();
        let second = issue_x509(&authority, &grant).await.ok().unwrap();
        assert_ne!(first.key.expose(), second.key.expose());
        let signed = authority.0.into_inner().unwrap();
        for (svid, public) in [&first, &second].into_iter().zip(signed) {
            assert_eq!((&svid.spiffe_id, svid.serial.as_str(), svid.authority.as_str()), (&id, "01", "a1"));
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, svid.key.expose()).unwrap();
            let signature = pair.sign(&SystemRandom::new(), b"text").unwrap();
            let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public).unwrap();
            assert!(public.verify_sig(b"text", signature.as_ref()).is_ok());
        }
    }
}
