//! What may be said about a certificate, for people to read.

use super::public_key::algorithm_name;
use super::read::Read;
use super::validate::spiffe_id;
use super::{Certificate, Place, X509SvidError};
use crate::clock::Timestamp;
use crate::spiffe_id::SpiffeId;

/// What a certificate says. Nothing of it is checked: [`validate`](super::validate()) does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its one URI, if it has one and that is a SPIFFE ID.
    pub spiffe_id: Option<SpiffeId>,
    /// Its DNS names, in its order. Whoever made the certificate chose the characters.
    pub dns_names: Vec<String>,
    /// The serial number in lower-case hexadecimal, two digits an octet, without leading zero octets.
    pub serial: String,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// The last moment at which it is valid.
    pub not_after: Timestamp,
    /// The key id of its issuer in lower-case hexadecimal, if it says so.
    pub authority_key_id: Option<String>,
    /// The key id of its subject in lower-case hexadecimal, if it says so.
    pub subject_key_id: Option<String>,
    /// Type and size of its key: `EC P-256`, `RSA 2048`, or an object identifier.
    pub key_algorithm: String,
    /// Whether it is that of a certificate authority (`cA`).
    pub is_authority: bool,
}

/// What `certificate` says.
///
/// # Errors
/// It is too long, malformed, or has a critical extension that is not understood.
pub fn facts(certificate: &Certificate) -> Result<CertificateFacts, X509SvidError> {
    let read = Read::new(certificate, Place::Alone)?;
    Ok(CertificateFacts {
        spiffe_id: spiffe_id(&read).ok(),
        dns_names: read.dns_names().map(str::to_owned).collect(),
        serial: serial(&read),
        not_before: read.not_before,
        not_after: read.not_after,
        authority_key_id: read.authority_key_id.map(hex),
        subject_key_id: read.subject_key_id.map(hex),
        key_algorithm: algorithm_name(read.x509.public_key()),
        is_authority: read.is_ca(),
    })
}

/// The serial number as people write it; `00` for zero.
pub(super) fn serial(read: &Read<'_>) -> String {
    let octets = read.x509.raw_serial();
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    hex(octets.get(zeros.min(octets.len().saturating_sub(1))..).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}
