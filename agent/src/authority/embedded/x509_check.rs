//! An X.509 authority of our own is read again and held against the standard before it is published.

use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::x509::{Certificate, X509SvidError, check_authority};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Checks the certificate of an X.509 authority under `above`, which is itself if it signed its own.
///
/// # Errors
/// Which rule it breaks.
pub(super) fn authority(own: &Certificate, above: &Certificate, domain: &TrustDomain) -> Result<(), X509SvidError> {
    check_authority(own, domain)?;
    let (own, above) = (parsed(own)?, parsed(above)?);
    stands_below(&own, &above).map_err(X509SvidError::Profile)?;
    let signed = own.verify_signature(Some(above.public_key()));
    signed.map_err(|_| X509SvidError::Profile("it is not signed by the one above it"))
}

fn parsed(certificate: &Certificate) -> Result<X509Certificate<'_>, X509SvidError> {
    match X509Certificate::from_der(certificate.der()) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(X509SvidError::Form),
    }
}

/// Issuer by name and key id, and a time that lies in that of the one above.
fn stands_below(own: &X509Certificate<'_>, above: &X509Certificate<'_>) -> Result<(), &'static str> {
    let (time, limits) = (own.validity(), above.validity());
    if time.not_before < limits.not_before || limits.not_after < time.not_after {
        return Err("its time is not within that of the one above it");
    }
    if own.issuer().as_raw() != above.subject().as_raw() {
        return Err("its issuer's name is not that of the one above it");
    }
    let is_self_signed = own.subject_pki.raw == above.subject_pki.raw;
    let named = key_ids(own).1;
    if !is_self_signed && (named.is_none() || named != key_ids(above).0) {
        return Err("it does not name the key of the one above it");
    }
    Ok(())
}

/// Subject and authority key id.
fn key_ids<'a>(certificate: &'a X509Certificate<'_>) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let (mut subject, mut authority) = (None, None);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => subject = Some(id.0),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                authority = id.key_identifier.as_ref().map(|id| id.0);
            }
            _ => {}
        }
    }
    (subject, authority)
}

#[cfg(test)]
mod tests;
