//! The public key of a certificate, and which certificates are those of authorities.

use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
};
use x509_parser::public_key::PublicKey as ParsedKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::read::Read;
use super::{Certificate, Place, X509SvidError};
use crate::bundle::{Curve, PublicKey};
use crate::svid::jwt;

/// The key, if it is of a type that signatures are checked with here: a point on P-256, P-384 or
/// P-521, not compressed, or RSA of 2048 to 8192 bits.
pub(super) fn public_key(spki: &SubjectPublicKeyInfo<'_>) -> Option<PublicKey> {
    if spki.subject_public_key.unused_bits != 0 {
        return None;
    }
    let algorithm = &spki.algorithm;
    let key = if algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = algorithm.parameters.as_ref()?.as_oid().ok()?;
        let curves = [(OID_EC_P256, Curve::P256), (OID_NIST_EC_P384, Curve::P384), (OID_NIST_EC_P521, Curve::P521)];
        let (_, curve) = curves.into_iter().find(|(oid, _)| *oid == curve)?;
        PublicKey::ec(curve, spki.subject_public_key.data.to_vec())
    } else if algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        let Ok(ParsedKey::RSA(key)) = spki.parsed() else { return None };
        PublicKey::rsa(key.modulus.to_vec(), key.exponent.to_vec())
    } else {
        None
    };
    key.filter(jwt::is_sound)
}

/// What operators call the type of a key.
pub(super) fn algorithm_name(spki: &SubjectPublicKeyInfo<'_>) -> String {
    match public_key(spki) {
        Some(PublicKey::Ec { curve, .. }) => format!("EC {}", curve.name()),
        Some(PublicKey::Rsa { n, .. }) => format!("RSA {}", n.len() * 8),
        None => format!("other ({})", spki.algorithm.algorithm),
    }
}

/// Checks that a certificate can stand in a bundle: it is that of an authority (`cA`, and
/// `keyCertSign` if it has a key usage: RFC 5280, section 6.1.4) whose signatures can be checked here.
///
/// Liberal where [`check_authority`](super::check_authority) is strict: the certificate is somebody
/// else's, such as an upstream root or an authority of a foreign trust domain.
///
/// # Errors
/// It cannot be read, is not that of an authority, or its key is of another type.
pub fn check_anchor(certificate: &Certificate) -> Result<(), X509SvidError> {
    let read = Read::new(certificate, Place::Alone)?;
    let may_sign = read.key_usage.as_ref().is_none_or(|usage| usage.value.key_cert_sign());
    if !read.is_ca() || !may_sign {
        return Err(X509SvidError::NotAnAuthority(Place::Alone));
    }
    public_key(read.x509.public_key()).map(|_| ()).ok_or(X509SvidError::SignatureAlgorithm(Place::Alone))
}

/// The public key of a certificate that passes [`check_anchor`].
pub(crate) fn authority_key(certificate: &Certificate) -> Option<PublicKey> {
    check_anchor(certificate).ok()?;
    public_key(Read::new(certificate, Place::Alone).ok()?.x509.public_key())
}
