//! A certificate to what is judged of it. The library is liberal where old certificates need it;
//! here whatever is judged has to be there whole, once, and understood.

use std::collections::BTreeSet;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension, X509Extension};
use x509_parser::oid_registry;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use super::der::{BIT_STRING, SEQUENCE, element, elements};
use super::{Certificate, MAX_CERTIFICATE_BYTES, Place, X509SvidError};
use crate::clock::Timestamp;

/// An extension's value, and whether it is critical.
pub(super) struct Marked<T> {
    pub(super) critical: bool,
    pub(super) value: T,
}

/// BasicConstraints (RFC 5280, section 4.2.1.9).
pub(super) struct BasicConstraints {
    pub(super) ca: bool,
    pub(super) path_length: Option<u32>,
}

/// What is judged of a certificate.
pub(super) struct Read<'a> {
    pub(super) place: Place,
    pub(super) x509: X509Certificate<'a>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) basic_constraints: Option<Marked<BasicConstraints>>,
    pub(super) key_usage: Option<Marked<KeyUsage>>,
    pub(super) extended_key_usage: Option<Marked<ExtendedKeyUsage<'a>>>,
    /// SubjectAltName; empty if the extension is not there.
    pub(super) names: Marked<Vec<GeneralName<'a>>>,
    pub(super) subject_key_id: Option<&'a [u8]>,
    pub(super) authority_key_id: Option<&'a [u8]>,
    /// Which forms of names NameConstraints speak of: the numbers of GeneralName's choices.
    pub(super) constrained_forms: BTreeSet<u8>,
    /// Whether there is any extension besides those above.
    pub(super) has_others: bool,
}

impl<'a> Read<'a> {
    /// Reads a certificate that stands at `place`.
    pub(super) fn new(certificate: &'a Certificate, place: Place) -> Result<Self, X509SvidError> {
        let malformed = X509SvidError::Malformed(place);
        let der = certificate.der();
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(X509SvidError::TooLarge);
        }
        if !has_signed_algorithm(der) {
            return Err(malformed);
        }
        let (_, x509) = X509Certificate::from_der(der).map_err(|_| malformed)?;
        if x509.version() != X509Version::V3 || x509.signature_value.unused_bits != 0 {
            return Err(malformed);
        }
        let validity = x509.validity();
        let mut read = Self {
            place,
            not_before: timestamp(validity.not_before),
            not_after: timestamp(validity.not_after),
            basic_constraints: None,
            key_usage: None,
            extended_key_usage: None,
            names: Marked { critical: false, value: Vec::new() },
            subject_key_id: None,
            authority_key_id: None,
            constrained_forms: BTreeSet::new(),
            has_others: false,
            x509,
        };
        read.take_extensions()?;
        Ok(read)
    }

    fn take_extensions(&mut self) -> Result<(), X509SvidError> {
        let extensions = self.x509.extensions().to_vec();
        let mut seen = BTreeSet::new();
        for extension in &extensions {
            if !seen.insert(extension.oid.as_bytes()) {
                return Err(X509SvidError::RepeatedExtension(self.place));
            }
            self.take(extension)?;
        }
        Ok(())
    }

    fn take(&mut self, extension: &X509Extension<'a>) -> Result<(), X509SvidError> {
        use ParsedExtension as Is;
        let malformed = X509SvidError::Malformed(self.place);
        let critical = extension.critical;
        // What the library cannot parse it leaves to its callers; it must not count as absent.
        let is_judged = JUDGED.contains(&extension.oid);
        if is_judged && element(extension.value).is_none_or(|whole| !whole.rest.is_empty()) {
            return Err(malformed);
        }
        match extension.parsed_extension() {
            Is::BasicConstraints(is) => {
                let value = BasicConstraints { ca: is.ca, path_length: is.path_len_constraint };
                self.basic_constraints = Some(Marked { critical, value });
            }
            Is::KeyUsage(usage) => self.key_usage = Some(Marked { critical, value: *usage }),
            Is::ExtendedKeyUsage(usage) => {
                self.extended_key_usage = Some(Marked { critical, value: usage.clone() });
            }
            Is::SubjectAlternativeName(names) => {
                if names.general_names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
                    return Err(malformed);
                }
                self.names = Marked { critical, value: names.general_names.clone() };
            }
            Is::NameConstraints(_) => {
                self.constrained_forms = constrained_forms(extension.value).ok_or(malformed)?;
                self.has_others = true;
            }
            // Nobody has to understand these two, so that they are never critical (sections 4.2.1.1 and 4.2.1.2).
            Is::SubjectKeyIdentifier(_) | Is::AuthorityKeyIdentifier(_) if critical => {
                return Err(X509SvidError::CriticalExtension(self.place));
            }
            Is::SubjectKeyIdentifier(id) => self.subject_key_id = Some(id.0),
            Is::AuthorityKeyIdentifier(id) => self.authority_key_id = id.key_identifier.as_ref().map(|id| id.0),
            _ if is_judged => return Err(malformed),
            _ if critical => return Err(X509SvidError::CriticalExtension(self.place)),
            _ => self.has_others = true,
        }
        Ok(())
    }

    /// The URIs among the alternative names.
    pub(super) fn uris(&self) -> impl Iterator<Item = &'a str> {
        self.names.value.iter().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
    }

    /// The DNS names among the alternative names.
    pub(super) fn dns_names(&self) -> impl Iterator<Item = &'a str> {
        self.names.value.iter().filter_map(|name| if let GeneralName::DNSName(dns) = name { Some(*dns) } else { None })
    }

    /// Whether BasicConstraints say that it is that of an authority.
    pub(super) fn is_ca(&self) -> bool {
        self.basic_constraints.as_ref().is_some_and(|constraints| constraints.value.ca)
    }
}

/// The extensions that are judged.
const JUDGED: [oid_registry::Oid<'static>; 7] = [
    oid_registry::OID_X509_EXT_BASIC_CONSTRAINTS,
    oid_registry::OID_X509_EXT_KEY_USAGE,
    oid_registry::OID_X509_EXT_EXTENDED_KEY_USAGE,
    oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME,
    oid_registry::OID_X509_EXT_NAME_CONSTRAINTS,
    oid_registry::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
    oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
];

/// Whether a certificate is its three parts and nothing else, and the algorithm outside of what is
/// signed is byte for byte the one inside (RFC 5280, section 4.1.1.2). The library lets bytes stand
/// behind the signature and does not look at every tag of an algorithm, where no signature holds them.
fn has_signed_algorithm(der: &[u8]) -> bool {
    let parts = element(der)
        .filter(|outer| outer.tag == SEQUENCE && outer.rest.is_empty())
        .and_then(|outer| elements(outer.content))
        .unwrap_or_default();
    let [signed, outside, signature] = parts.as_slice() else { return false };
    // Version, serial number, algorithm.
    let inside = elements(signed.content).and_then(|parts| parts.get(2).map(|part| part.whole));
    [signed.tag, outside.tag, signature.tag] == [SEQUENCE, SEQUENCE, BIT_STRING] && inside == Some(outside.whole)
}

/// Seconds since 1970; what was before is 1970, when nothing was valid.
fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp::from_seconds(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// The forms of the names in NameConstraints (RFC 5280, section 4.2.1.10), read by hand, since the
/// library passes over subtrees that it does not understand.
fn constrained_forms(value: &[u8]) -> Option<BTreeSet<u8>> {
    const PERMITTED: u8 = 0xa0;
    const EXCLUDED: u8 = 0xa1;
    let constraints = element(value).filter(|whole| whole.tag == SEQUENCE)?;
    let mut forms = BTreeSet::new();
    for subtrees in elements(constraints.content)? {
        if !matches!(subtrees.tag, PERMITTED | EXCLUDED) {
            return None;
        }
        for subtree in elements(subtrees.content)? {
            let base = element(subtree.content).filter(|_| subtree.tag == SEQUENCE)?;
            // The number of a context-specific tag.
            forms.insert((base.tag & 0xc0 == 0x80).then_some(base.tag & 0x1f)?);
        }
    }
    Some(forms)
}
