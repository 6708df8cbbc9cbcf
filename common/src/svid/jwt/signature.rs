//! Checking a signature: the nine algorithms on the one crypto library.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};

use super::{Algorithm, JwtSvidError};
use crate::bundle::{Curve, PublicKey};

/// How an algorithm is checked.
enum Check {
    /// ECDSA; the signature is `r || s`, both of full length (RFC 7518, section 3.4).
    Ec(&'static dyn VerificationAlgorithm, usize),
    /// RSA, with moduli from 2048 to 8192 bits.
    Rsa(&'static RsaParameters),
}

const fn check(algorithm: Algorithm) -> Check {
    match algorithm {
        Algorithm::Es256 => Check::Ec(&signature::ECDSA_P256_SHA256_FIXED, 64),
        Algorithm::Es384 => Check::Ec(&signature::ECDSA_P384_SHA384_FIXED, 96),
        Algorithm::Es512 => Check::Ec(&signature::ECDSA_P521_SHA512_FIXED, 132),
        Algorithm::Rs256 => Check::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Check::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Check::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Check::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Check::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Check::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
    }
}

/// Checks that `signature` is the key's over `message`.
///
/// An ECDSA signature `(r, s)` stays one as `(r, n - s)`: the bytes of a token are not a
/// name for it. Nothing here keys on them; `jti` names a token.
pub(super) fn verify(
    algorithm: Algorithm,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), JwtSvidError> {
    let verdict = match (check(algorithm), key) {
        (Check::Ec(algorithm, length), PublicKey::Ec { point, .. }) if signature.len() == length => {
            signature::UnparsedPublicKey::new(algorithm, point).verify(message, signature)
        }
        (Check::Rsa(parameters), PublicKey::Rsa { n, e }) => {
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
        }
        (Check::Ec(..) | Check::Rsa(_), _) => return Err(JwtSvidError::Signature),
    };
    verdict.map_err(|_| JwtSvidError::Signature)
}

/// Whether the crypto library takes the bytes as a key: the point is on its curve, the
/// modulus and exponent belong to an RSA key.
pub(crate) fn is_sound(key: &PublicKey) -> bool {
    match key {
        PublicKey::Ec { curve, point } => {
            let algorithm: &'static dyn VerificationAlgorithm = match curve {
                Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED,
                Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED,
                Curve::P521 => &signature::ECDSA_P521_SHA512_FIXED,
            };
            ParsedPublicKey::new(algorithm, point).is_ok()
        }
        PublicKey::Rsa { n, e } => {
            RsaPublicKeyComponents { n, e }.to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256).is_ok()
        }
    }
}
