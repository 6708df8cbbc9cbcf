//! From a leaf to an authority of the bundle (RFC 5280, section 6.1).
//!
//! The chain is taken as it stands: each certificate is issued by an authority of the bundle or by
//! the certificate after it. Nothing is searched for, so that the work is bounded by the chain's
//! length and the authorities of one name. Whatever is not understood refuses: policies that are
//! critical, and constraints of a form of names that is in the chain.

use std::collections::BTreeSet;

use x509_parser::extensions::GeneralName;

use super::read::Read;
use super::{Place, X509SvidError, signature};
use crate::clock::Timestamp;

/// Two points in time, both of them included.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Window {
    /// Whether a certificate is valid all the time between the two.
    pub(super) fn is_within(self, certificate: &Read<'_>) -> Result<(), X509SvidError> {
        if certificate.not_after < self.until {
            Err(X509SvidError::Expired(certificate.place))
        } else if self.from < certificate.not_before {
            Err(X509SvidError::NotYetValid(certificate.place))
        } else {
            Ok(())
        }
    }
}

/// A way from a leaf to an authority.
#[derive(Clone, Copy)]
pub(super) struct Path {
    /// Which of the authorities, counted from zero.
    pub(super) authority: usize,
    /// How many certificates of the chain lead there.
    pub(super) length: usize,
}

/// Finds the way from the first of `chain`, which is never empty, to one of `authorities`, all of it
/// valid throughout `window`.
///
/// # Errors
/// What is wrong with the authority that was named, or else with the next certificate of the chain.
pub(super) fn find(chain: &[Read<'_>], authorities: &[Read<'_>], window: Window) -> Result<Path, X509SvidError> {
    for (at, certificate) in chain.iter().enumerate() {
        let below = &chain[..=at];
        let mut refused: Option<X509SvidError> = None;
        for (authority, issuer) in authorities.iter().enumerate().filter(|(_, issuer)| names(certificate, issuer)) {
            match issued(below, certificate, issuer, window) {
                Ok(()) => {
                    chain.first().map_or(Ok(()), |leaf| window.is_within(leaf))?;
                    return Ok(Path { authority, length: below.len() });
                }
                // Authorities of one name differ in their keys: a wrong signature says the least about why.
                Err(error) if refused.is_none_or(|was| matches!(was, X509SvidError::Signature(_))) => {
                    refused = Some(error);
                }
                Err(_) => {}
            }
        }
        let next = chain.get(at + 1).ok_or(refused.unwrap_or(X509SvidError::NoAuthority))?;
        if !names(certificate, next) {
            return Err(refused.unwrap_or(X509SvidError::Issuer(certificate.place)));
        }
        issued(below, certificate, next, window).map_err(|error| refused.unwrap_or(error))?;
    }
    Err(X509SvidError::NoAuthority)
}

/// Whether `certificate` says that it comes from a subject of `issuer`'s name; names are compared as
/// they are encoded.
fn names(certificate: &Read<'_>, issuer: &Read<'_>) -> bool {
    certificate.x509.issuer().as_raw() == issuer.x509.subject().as_raw()
}

/// Checks that `issuer` issued `certificate` and was allowed to; `below` is the chain up to and
/// with `certificate`.
fn issued(below: &[Read<'_>], certificate: &Read<'_>, issuer: &Read<'_>, window: Window) -> Result<(), X509SvidError> {
    may_issue(issuer)?;
    let intermediates = below.len() - 1;
    let allowed = issuer.basic_constraints.as_ref().and_then(|constraints| constraints.value.path_length);
    // Those that renew their own name count too, which RFC 5280 would let pass.
    if allowed.is_some_and(|allowed| usize::try_from(allowed).is_ok_and(|allowed| intermediates > allowed)) {
        return Err(X509SvidError::PathLength(issuer.place));
    }
    if below.iter().any(|certificate| !issuer.constrained_forms.is_disjoint(&forms(certificate))) {
        return Err(X509SvidError::NameConstraints(issuer.place));
    }
    signature::verify(certificate, issuer)?;
    window.is_within(issuer)
}

/// `cA`; `keyCertSign`, which only an authority of the bundle may leave unsaid, since it is trusted
/// for its key; and no extended key usage that leaves TLS out.
fn may_issue(issuer: &Read<'_>) -> Result<(), X509SvidError> {
    let signs = match &issuer.key_usage {
        Some(usage) => usage.value.key_cert_sign(),
        None => issuer.place == Place::Authority,
    };
    if !issuer.is_ca() || !signs {
        return Err(X509SvidError::NotAnAuthority(issuer.place));
    }
    purposes(issuer)
}

/// Where there is an extended key usage, both purposes are in it (X509-SVID.md, section 4.4).
pub(super) fn purposes(certificate: &Read<'_>) -> Result<(), X509SvidError> {
    match &certificate.extended_key_usage {
        Some(usage) if !(usage.value.any || usage.value.server_auth && usage.value.client_auth) => {
            Err(X509SvidError::ExtendedKeyUsage(certificate.place))
        }
        _ => Ok(()),
    }
}

/// The forms of the names that a certificate has, as GeneralName numbers them. A subject may have
/// an e-mail address in it (RFC 5280, section 4.2.1.10).
fn forms(certificate: &Read<'_>) -> BTreeSet<u8> {
    const E_MAIL: u8 = 1;
    const DIRECTORY: u8 = 4;
    let mut forms: BTreeSet<u8> = certificate.names.value.iter().map(form).collect();
    if certificate.x509.subject().iter().next().is_some() {
        forms.extend([E_MAIL, DIRECTORY]);
    }
    forms
}

fn form(name: &GeneralName<'_>) -> u8 {
    match name {
        GeneralName::OtherName(..) => 0,
        GeneralName::RFC822Name(_) => 1,
        GeneralName::DNSName(_) => 2,
        GeneralName::X400Address(_) => 3,
        GeneralName::DirectoryName(_) => 4,
        GeneralName::EDIPartyName(_) => 5,
        GeneralName::URI(_) => 6,
        GeneralName::IPAddress(_) => 7,
        GeneralName::RegisteredID(_) => 8,
        GeneralName::Invalid(tag, _) => u8::try_from(tag.0).unwrap_or(u8::MAX),
    }
}
