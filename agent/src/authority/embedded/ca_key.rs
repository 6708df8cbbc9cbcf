//! A private key that signs certificates: that of an X.509 authority, or that of the one above it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaKeyPair};
use countersign_common::bundle::PublicKey;
use countersign_common::secret::SecretBytes;
use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};

use super::pkcs11::{Pkcs11Key, to_asn1};
use super::private_key::PrivateKey;
use crate::authority::AuthorityError;

/// A key pair as rcgen takes it. Has no `Debug`: it holds the private key.
pub(super) struct CaKey {
    pair: Pair,
    public: Vec<u8>,
}

enum Pair {
    Ec(EcdsaKeyPair, &'static SignatureAlgorithm),
    Rsa(RsaKeyPair),
    /// P-256.
    InToken(Pkcs11Key),
}

impl CaKey {
    /// Makes a P-256 key; PKCS#8 to be sealed and saved, and the key itself.
    ///
    /// # Errors
    /// The crypto library failed.
    pub(super) fn generate() -> Result<(SecretBytes, Self), AuthorityError> {
        let failed = AuthorityError::Crypto("make a key");
        let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
        let Ok(document) = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()) else { return Err(failed) };
        let pkcs8 = SecretBytes::new(document.as_ref().to_vec());
        let key = Self::read(&pkcs8).ok_or(failed)?;
        Ok((pkcs8, key))
    }

    /// Reads a private key in DER, as PKCS#8 or in the form of its own kind: P-256, P-384, RSA of
    /// 2048 bits or more.
    pub(super) fn read(der: &SecretBytes) -> Option<Self> {
        let der = der.expose();
        let ec = |algorithm: &'static EcdsaSigningAlgorithm, name| {
            EcdsaKeyPair::from_private_key_der(algorithm, der).ok().map(|pair| Pair::Ec(pair, name))
        };
        let pair = ec(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &rcgen::PKCS_ECDSA_P256_SHA256)
            .or_else(|| ec(&signature::ECDSA_P384_SHA384_ASN1_SIGNING, &rcgen::PKCS_ECDSA_P384_SHA384))
            .or_else(|| RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).ok().map(Pair::Rsa))?;
        let public = match &pair {
            Pair::Ec(pair, _) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::InToken(_) => return None,
        };
        Some(Self { pair, public })
    }

    /// Takes a key that was saved.
    pub(super) fn of(key: PrivateKey) -> Option<Self> {
        match key {
            PrivateKey::Here(pkcs8) => Self::read(&pkcs8),
            PrivateKey::There(key) => Self::in_token(key),
        }
    }

    /// A P-256 key of a token; `None` if it is another one.
    pub(super) fn in_token(key: Pkcs11Key) -> Option<Self> {
        let PublicKey::Ec { point: public, .. } = key.public() else { return None };
        Some(Self { pair: Pair::InToken(key), public })
    }

    /// The private key, if a token has it.
    pub(super) fn token_key(&self) -> Option<&Pkcs11Key> {
        match &self.pair {
            Pair::InToken(key) => Some(key),
            Pair::Ec(..) | Pair::Rsa(_) => None,
        }
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match &self.pair {
            Pair::Ec(_, algorithm) => algorithm,
            Pair::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
            Pair::InToken(_) => &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let rng = SystemRandom::new();
        let failed = |_| rcgen::Error::RingUnspecified;
        match &self.pair {
            Pair::Ec(pair, _) => Ok(pair.sign(&rng, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &rng, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::InToken(key) => {
                let signed = key.sign(message).map_err(|error| {
                    // rcgen's error has no room for it.
                    tracing::warn!(%error, "an X.509 authority could not sign");
                    rcgen::Error::RemoteKeyError
                });
                to_asn1(&signed?).ok_or(rcgen::Error::RemoteKeyError)
            }
        }
    }
}
