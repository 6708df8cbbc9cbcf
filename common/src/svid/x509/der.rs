//! The little of DER (ITU-T X.690) that is read by hand: elements, and certificates one after the other.

use super::{Certificate, MAX_CERTIFICATE_BYTES, X509SvidError};

/// The tag of a SEQUENCE.
pub(super) const SEQUENCE: u8 = 0x30;
/// The tag of a BIT STRING.
pub(super) const BIT_STRING: u8 = 0x03;

/// The first element of `input`.
pub(super) struct Element<'a> {
    /// Its tag, of one byte.
    pub(super) tag: u8,
    /// What is in it.
    pub(super) content: &'a [u8],
    /// Tag, length and content.
    pub(super) whole: &'a [u8],
    /// What follows it.
    pub(super) rest: &'a [u8],
}

/// Splits an element off; `None` if its length is not definite, in its shortest form (X.690,
/// section 10.1) and within the input, or its tag has more than one byte.
pub(super) fn element(input: &[u8]) -> Option<Element<'_>> {
    let (tag, after_tag) = input.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (first, after_first) = after_tag.split_first()?;
    let (length, after_length) = match first {
        0..=0x7f => (usize::from(*first), after_first),
        0x81..=0x84 => {
            let (octets, after) = after_first.split_at_checked(usize::from(first & 0x7f))?;
            let length = octets.iter().fold(0, |length: usize, octet| (length << 8) | usize::from(*octet));
            let is_shortest = octets.first() != Some(&0) && length > 0x7f;
            (is_shortest.then_some(length)?, after)
        }
        _ => return None,
    };
    let (content, rest) = after_length.split_at_checked(length)?;
    Some(Element { tag: *tag, content, whole: &input[..input.len() - rest.len()], rest })
}

/// The elements of `input`; `None` if anything in it is none.
pub(super) fn elements(mut input: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut all = Vec::new();
    while !input.is_empty() {
        let next = element(input)?;
        input = next.rest;
        all.push(next);
    }
    Some(all)
}

/// Certificates one after the other, as the Workload API carries them
/// (`SPIFFE_Workload_API.md`, section 5.2: `x509_svid` and `bundle`).
pub fn concatenated(certificates: &[Certificate]) -> Vec<u8> {
    certificates.iter().map(Certificate::der).collect::<Vec<_>>().concat()
}

/// Splits what [`concatenated`] wrote. Whether each is a certificate is not looked at; each is at
/// most [`MAX_CERTIFICATE_BYTES`] long.
///
/// # Errors
/// There are more than `at_most`, one is too long, or something in between is no element of DER.
pub fn split(mut der: &[u8], at_most: usize) -> Result<Vec<Certificate>, X509SvidError> {
    let mut certificates = Vec::new();
    while !der.is_empty() {
        if certificates.len() == at_most {
            return Err(X509SvidError::TooMany(at_most));
        }
        let one = element(der).filter(|one| one.tag == SEQUENCE).ok_or(X509SvidError::Form)?;
        if one.whole.len() > MAX_CERTIFICATE_BYTES {
            return Err(X509SvidError::TooLarge);
        }
        certificates.push(Certificate::from_der(one.whole));
        der = one.rest;
    }
    Ok(certificates)
}
