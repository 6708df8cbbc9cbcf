//! What is signed is read again and held against the standard before it leaves: X509-SVID.md, and
//! the profile that every strict reader takes.

use countersign_common::spiffe_id::{SpiffeId, TrustDomain};
use countersign_common::svid::x509::Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// `digitalSignature` alone, as x509-parser has the bits (RFC 5280, section 4.2.1.3).
const SIGNS_DOCUMENTS: u16 = 1;

/// `keyCertSign` and `cRLSign` alone.
const SIGNS_CERTIFICATES: u16 = 1 << 5 | 1 << 6;

/// Checks the leaf of an X509-SVID.
///
/// # Errors
/// Which rule it breaks.
pub(super) fn leaf(leaf: &Certificate, above: &Certificate, id: &SpiffeId) -> Result<(), &'static str> {
    let (leaf, above) = (parsed(leaf)?, parsed(above)?);
    let leaf = Read { certificate: &leaf };
    leaf.stands_below(&above)?;
    leaf.has_usage(SIGNS_DOCUMENTS)?;
    leaf.says_who(id.as_str())?;
    if id.path().is_empty() {
        return Err("its SPIFFE ID has no path");
    }
    let constraints = leaf.certificate.basic_constraints().map_err(|_| "basic constraints stand twice")?;
    if !constraints.is_some_and(|found| found.critical && !found.value.ca) {
        return Err("it does not say that it is no authority");
    }
    let usage = leaf.certificate.extended_key_usage().map_err(|_| "extended key usage stands twice")?;
    if !usage.is_some_and(|usage| usage.value.server_auth && usage.value.client_auth) {
        return Err("it is not for servers and clients");
    }
    Ok(())
}

/// Checks the certificate of an X.509 authority under `above`, which is itself if it signed its own.
///
/// # Errors
/// Which rule it breaks.
pub(super) fn authority(own: &Certificate, above: &Certificate, domain: &TrustDomain) -> Result<(), &'static str> {
    let (own, above) = (parsed(own)?, parsed(above)?);
    let own = Read { certificate: &own };
    own.stands_below(&above)?;
    own.has_usage(SIGNS_CERTIFICATES)?;
    own.says_who(domain.id().as_str())?;
    let constraints = own.certificate.basic_constraints().map_err(|_| "basic constraints stand twice")?;
    if !constraints.is_some_and(|found| found.critical && found.value.ca) {
        return Err("it does not say that it is an authority");
    }
    if !matches!(own.certificate.extended_key_usage(), Ok(None)) || own.certificate.subject().iter().next().is_none() {
        return Err("an authority has a subject, and no extended key usage");
    }
    own.certificate.verify_signature(Some(above.public_key())).map_err(|_| "it is not signed by the one above it")
}

fn parsed(certificate: &Certificate) -> Result<X509Certificate<'_>, &'static str> {
    match X509Certificate::from_der(certificate.der()) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err("it is not a certificate in DER"),
    }
}

struct Read<'a> {
    certificate: &'a X509Certificate<'a>,
}

impl Read<'_> {
    /// Issuer by name and key id, serial number, and a time that lies in that of the one above.
    fn stands_below(&self, above: &X509Certificate<'_>) -> Result<(), &'static str> {
        let (own, limits) = (self.certificate.validity(), above.validity());
        if own.not_after < own.not_before || own.not_before < limits.not_before || limits.not_after < own.not_after {
            return Err("its time is not within that of the one above it");
        }
        if self.certificate.issuer().as_raw() != above.subject().as_raw() {
            return Err("its issuer's name is not that of the one above it");
        }
        let raw = self.certificate.raw_serial();
        if !(1..=20).contains(&raw.len()) || raw.first().is_none_or(|first| first & 0x80 != 0) {
            return Err("its serial number is not a positive one of 20 octets at most");
        }
        let is_self_signed = self.certificate.subject_pki.raw == above.subject_pki.raw;
        let named = key_ids(self.certificate).1;
        if !is_self_signed && (named.is_none() || named != key_ids(above).0) {
            return Err("it does not name the key of the one above it");
        }
        key_ids(self.certificate).0.map(drop).ok_or("it has no subject key id")
    }

    /// Key usage is there, critical, and exactly this.
    fn has_usage(&self, flags: u16) -> Result<(), &'static str> {
        let usage = self.certificate.key_usage().map_err(|_| "key usage stands twice")?;
        if usage.is_some_and(|found| found.critical && found.value.flags == flags) {
            Ok(())
        } else {
            Err("its key usage is not the one that it must be")
        }
    }

    /// Exactly one URI, the SPIFFE ID; critical where the subject is empty (RFC 5280, section 4.1.2.6).
    fn says_who(&self, id: &str) -> Result<(), &'static str> {
        let names = self.certificate.subject_alternative_name().map_err(|_| "the names stand twice")?;
        let names = names.ok_or("it has no SPIFFE ID")?;
        let has_subject = self.certificate.subject().iter().next().is_some();
        let uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        if !has_subject && !names.critical {
            return Err("its names are not critical, and it has no subject");
        }
        if uris.collect::<Vec<_>>() == [id] { Ok(()) } else { Err("its SPIFFE ID is not the one that it must have") }
    }
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
