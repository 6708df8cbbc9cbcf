//! A private key that signs JWT-SVIDs.

use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_common::bundle::{Curve, JwtAuthority, PublicKey};
use countersign_common::secret::SecretBytes;
use countersign_common::svid::jwt::Algorithm;

use super::pkcs11::{Pkcs11Key, Pkcs11Token};
use super::private_key::PrivateKey;
use crate::authority::AuthorityError;

/// A key pair with its name. Has no `Debug`: it holds the private key.
pub(super) struct JwtKey {
    kid: String,
    public: PublicKey,
    pair: Pair,
    at_rest: SecretBytes,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    InToken(Pkcs11Key),
}

impl JwtKey {
    /// Makes a key, in the token if there is one. RS256 takes a tenth of a second or more: not for an
    /// async thread.
    ///
    /// # Errors
    /// The crypto library or the token failed, or has no way here to sign with `algorithm`.
    pub(super) fn generate(algorithm: Algorithm, token: Option<&Arc<Pkcs11Token>>) -> Result<Self, AuthorityError> {
        if let (Some(token), Algorithm::Es256 | Algorithm::Rs256) = (token, algorithm) {
            return token.new_key(algorithm).map(Self::in_token).map_err(AuthorityError::Pkcs11);
        }
        let failed = |_| AuthorityError::Crypto("make a key");
        let pkcs8 = match algorithm {
            Algorithm::Es256 => {
                let document =
                    EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                        .map_err(failed)?;
                SecretBytes::new(document.as_ref().to_vec())
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                SecretBytes::new(pair.as_der().map_err(failed)?.as_ref().to_vec())
            }
            _ => return Err(AuthorityError::Options("JWT-SVIDs are signed with ES256 or RS256")),
        };
        Self::from_pkcs8(algorithm, pkcs8)
    }

    /// Takes a key that was saved.
    ///
    /// # Errors
    /// It is not a key for `algorithm`.
    pub(super) fn read(algorithm: Algorithm, key: PrivateKey) -> Result<Self, AuthorityError> {
        match key {
            PrivateKey::Here(pkcs8) => Self::from_pkcs8(algorithm, pkcs8),
            PrivateKey::There(key) if key.algorithm() == algorithm => Ok(Self::in_token(key)),
            PrivateKey::There(_) => Err(AuthorityError::Crypto("read a saved key")),
        }
    }

    fn in_token(key: Pkcs11Key) -> Self {
        let (public, at_rest) = (key.public(), SecretBytes::new(key.reference()));
        Self { kid: thumbprint(&public), public, pair: Pair::InToken(key), at_rest }
    }

    fn from_pkcs8(algorithm: Algorithm, pkcs8: SecretBytes) -> Result<Self, AuthorityError> {
        let unreadable = |_| AuthorityError::Crypto("read a saved key");
        let (pair, public) = match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.expose())
                    .map_err(unreadable)?;
                let point = pair.public_key().as_ref().to_vec();
                (Pair::Es256(pair), PublicKey::Ec { curve: Curve::P256, point })
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8.expose()).map_err(unreadable)?;
                let n = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
                let e = pair.public_key().exponent().big_endian_without_leading_zero().to_vec();
                (Pair::Rs256(pair), PublicKey::Rsa { n, e })
            }
            _ => return Err(AuthorityError::Options("JWT-SVIDs are signed with ES256 or RS256")),
        };
        Ok(Self { kid: thumbprint(&public), public, pair, at_rest: pkcs8 })
    }

    /// Its name: the SHA-256 thumbprint of the public key (RFC 7638), so that no two keys share one.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// What it signs with.
    pub(super) fn algorithm(&self) -> Algorithm {
        match &self.pair {
            Pair::Es256(_) => Algorithm::Es256,
            Pair::Rs256(_) => Algorithm::Rs256,
            Pair::InToken(key) => key.algorithm(),
        }
    }

    /// What stands for the private key at rest, to be sealed and saved: itself, or its name in the token.
    pub(super) fn at_rest(&self) -> &SecretBytes {
        &self.at_rest
    }

    /// The private key, if a token has it.
    pub(super) fn token_key(&self) -> Option<&Pkcs11Key> {
        match &self.pair {
            Pair::InToken(key) => Some(key),
            Pair::Es256(_) | Pair::Rs256(_) => None,
        }
    }

    /// Its public half, for the bundle.
    pub(super) fn authority(&self) -> JwtAuthority {
        JwtAuthority { kid: self.kid.clone(), algorithm: Some(self.algorithm()), key: self.public.clone() }
    }

    /// Signs. ES256 takes some 16 microseconds, RS256 some 260; a token blocks for as long as it takes.
    ///
    /// # Errors
    /// The crypto library or the token failed.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        let rng = SystemRandom::new();
        let failed = |_| AuthorityError::Crypto("sign");
        match &self.pair {
            Pair::Es256(pair) => Ok(pair.sign(&rng, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &rng, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::InToken(key) => key.sign(message).map_err(AuthorityError::Pkcs11),
        }
    }
}

/// RFC 7638, section 3: the required members in alphabetical order, without white space.
fn thumbprint(key: &PublicKey) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let members = match key {
        PublicKey::Ec { point, .. } => {
            let coordinates = point.get(1..).unwrap_or_default();
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
        }
        PublicKey::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
    };
    encode(digest::digest(&digest::SHA256, members.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kid_is_the_thumbprint_of_rfc_7638() {
        // The example of RFC 7638, section 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = PublicKey::Rsa { n: URL_SAFE_NO_PAD.decode(n).unwrap(), e: vec![1, 0, 1] };
        assert_eq!(thumbprint(&key), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_saved_key_is_the_same_key() {
        for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
            let key = JwtKey::generate(algorithm, None).unwrap();
            let again = JwtKey::from_pkcs8(algorithm, key.at_rest().clone()).unwrap();
            assert_eq!((again.kid(), again.algorithm(), again.authority()), (key.kid(), algorithm, key.authority()));
        }
    }

    #[test]
    fn a_key_of_another_kind_is_not_taken() {
        let rsa = JwtKey::generate(Algorithm::Rs256, None).unwrap().at_rest().clone();
        assert!(JwtKey::from_pkcs8(Algorithm::Es256, rsa).is_err());
        let ec = JwtKey::generate(Algorithm::Es256, None).unwrap().at_rest().clone();
        assert!(JwtKey::from_pkcs8(Algorithm::Rs256, ec).is_err());
        assert!(JwtKey::from_pkcs8(Algorithm::Es256, SecretBytes::new(vec![1, 2, 3])).is_err());
        assert!(JwtKey::generate(Algorithm::Es384, None).is_err());
    }
}
