//! Checking the signature of a certificate: ECDSA and RSA with SHA-2, on the one crypto library.

use aws_lc_rs::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::oid_registry::{
    OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384,
    OID_SIG_ECDSA_WITH_SHA512, Oid,
};
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

use super::X509SvidError;
use super::public_key::public_key;
use super::read::Read;
use crate::bundle::{Curve, PublicKey};

/// The members of SHA-2 that sign certificates.
#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Checks that `issuer`'s key signed `certificate`. Neither SHA-1 nor Ed25519 is taken, nor RSA
/// below 2048 bits: a bundle cannot publish such a key as an authority's.
pub(super) fn verify(certificate: &Read<'_>, issuer: &Read<'_>) -> Result<(), X509SvidError> {
    let x509 = &certificate.x509;
    let unknown = X509SvidError::SignatureAlgorithm(certificate.place);
    let key = public_key(issuer.x509.public_key()).ok_or(unknown)?;
    let (message, signature) = (x509.tbs_certificate.as_ref(), x509.signature_value.data.as_ref());
    let verdict = match &key {
        PublicKey::Ec { curve, point } => {
            let algorithm = ecdsa(&x509.signature_algorithm, *curve).ok_or(unknown)?;
            UnparsedPublicKey::new(algorithm, point).verify(message, signature)
        }
        PublicKey::Rsa { n, e } => {
            let parameters = rsa(&x509.signature_algorithm).ok_or(unknown)?;
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
        }
    };
    verdict.map_err(|_| X509SvidError::Signature(certificate.place))
}

/// RFC 5758, section 3.2: no parameters.
fn ecdsa(algorithm: &AlgorithmIdentifier<'_>, curve: Curve) -> Option<&'static dyn VerificationAlgorithm> {
    let oids = [
        (OID_SIG_ECDSA_WITH_SHA256, Hash::Sha256),
        (OID_SIG_ECDSA_WITH_SHA384, Hash::Sha384),
        (OID_SIG_ECDSA_WITH_SHA512, Hash::Sha512),
    ];
    if algorithm.parameters.is_some() {
        return None;
    }
    Some(match (curve, of(&oids, &algorithm.algorithm)?) {
        (Curve::P256, Hash::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, Hash::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (Curve::P256, Hash::Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
        (Curve::P384, Hash::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, Hash::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        (Curve::P384, Hash::Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
        (Curve::P521, Hash::Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
        (Curve::P521, Hash::Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
        (Curve::P521, Hash::Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
    })
}

fn rsa(algorithm: &AlgorithmIdentifier<'_>) -> Option<&'static RsaParameters> {
    let pkcs1 = [
        (OID_PKCS1_SHA256WITHRSA, Hash::Sha256),
        (OID_PKCS1_SHA384WITHRSA, Hash::Sha384),
        (OID_PKCS1_SHA512WITHRSA, Hash::Sha512),
    ];
    if algorithm.algorithm == OID_PKCS1_RSASSAPSS {
        return Some(match pss_hash(algorithm)? {
            Hash::Sha256 => &signature::RSA_PSS_2048_8192_SHA256,
            Hash::Sha384 => &signature::RSA_PSS_2048_8192_SHA384,
            Hash::Sha512 => &signature::RSA_PSS_2048_8192_SHA512,
        });
    }
    Some(match of(&pkcs1, &algorithm.algorithm)? {
        Hash::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Hash::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Hash::Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
    })
}

/// The hash of RSASSA-PSS, if its parameters are those that are in use (RFC 4055, section 3.1): one
/// hash for message and mask, and a salt of the hash's length.
fn pss_hash(algorithm: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    let oids = [
        (OID_NIST_HASH_SHA256, Hash::Sha256),
        (OID_NIST_HASH_SHA384, Hash::Sha384),
        (OID_NIST_HASH_SHA512, Hash::Sha512),
    ];
    let parameters = RsaSsaPssParams::try_from(algorithm.parameters.as_ref()?).ok()?;
    let hash = of(&oids, parameters.hash_algorithm_oid())?;
    let length = match hash {
        Hash::Sha256 => 32,
        Hash::Sha384 => 48,
        Hash::Sha512 => 64,
    };
    let mask = parameters.mask_gen_algorithm().ok()?;
    (mask.hash == *parameters.hash_algorithm_oid()
        && parameters.salt_length() == length
        && parameters.trailer_field() == 1)
        .then_some(hash)
}

fn of(oids: &[(Oid<'static>, Hash)], wanted: &Oid<'_>) -> Option<Hash> {
    oids.iter().find(|(oid, _)| oid == wanted).map(|(_, hash)| *hash)
}
