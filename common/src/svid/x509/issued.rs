//! The last look at a product of our own before it leaves.

use x509_parser::extensions::GeneralName;

use super::facts::serial;
use super::path::{self, Window};
use super::read::Read;
use super::validate::{read_chain, spiffe_id};
use super::{Certificate, Place, X509SvidError, signature};
use crate::clock::Timestamp;
use crate::spiffe_id::{SpiffeId, TrustDomain};

/// What was to be signed.
#[derive(Clone, Copy)]
pub struct Meant<'a> {
    /// Whose the SVID is to be.
    pub spiffe_id: &'a SpiffeId,
    /// DNS names beside it, in this order.
    pub dns_names: &'a [String],
    /// The workload's public key: a SubjectPublicKeyInfo in DER.
    pub public_key: &'a [u8],
    /// The serial number in lower-case hexadecimal, without leading zero octets.
    pub serial: &'a str,
    /// From when on the leaf is to be valid.
    pub not_before: Timestamp,
    /// The last moment at which it is to be valid.
    pub not_after: Timestamp,
    /// The certificate of the bundle that the chain is to lead to.
    pub authority: &'a Certificate,
}

/// Refuses with `rule` unless `holds`.
fn hold(holds: bool, rule: &'static str) -> Result<(), X509SvidError> {
    if holds { Ok(()) } else { Err(X509SvidError::Profile(rule)) }
}

/// Checks an X509-SVID of our own before it leaves: reads the chain again, compares the leaf with
/// what was meant, and holds it against what X509-SVID.md demands of issuers (sections 2 to 4) and
/// the narrower form that every strict reader takes: an empty subject with critical alternative
/// names, critical BasicConstraints and KeyUsage, both purposes, key ids. The chain leads to the
/// authority without containing it, every signature is checked, and nothing on the way expires
/// before the leaf or begins after it.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_issued(chain: &[Certificate], meant: &Meant<'_>) -> Result<(), X509SvidError> {
    hold(!chain.contains(meant.authority), "the chain contains the authority that it is to lead to")?;
    let chain = read_chain(chain)?;
    let authority = [Read::new(meant.authority, Place::Authority)?];
    let leaf = chain.first().ok_or(X509SvidError::NoCertificate)?;
    let issuer = chain.get(1).unwrap_or(&authority[0]);

    check_leaf_is_as_meant(leaf, meant)?;
    check_leaf_profile(leaf)?;
    check_key_ids(leaf, issuer)?;
    let path = path::find(&chain, &authority, Window { from: leaf.not_before, until: leaf.not_after })?;
    hold(path.length == chain.len(), "the chain goes on after the authority was reached")
}

fn check_leaf_is_as_meant(leaf: &Read<'_>, meant: &Meant<'_>) -> Result<(), X509SvidError> {
    let id = spiffe_id(leaf)?;
    if id.path().is_empty() {
        return Err(X509SvidError::RootPath);
    }
    hold(id == *meant.spiffe_id, "it has another SPIFFE ID than was meant")?;
    hold(leaf.dns_names().eq(meant.dns_names.iter().map(String::as_str)), "it has other DNS names than were meant")?;
    hold(leaf.names.value.len() == 1 + meant.dns_names.len(), "it has a name that is neither a URI nor a DNS name")?;
    hold(leaf.x509.public_key().raw == meant.public_key, "it has another public key than was meant")?;
    hold(serial(leaf) == meant.serial, "it has another serial number than was meant")?;
    let times = (leaf.not_before, leaf.not_after) == (meant.not_before, meant.not_after);
    hold(times, "it is valid at other times than were meant")
}

fn check_leaf_profile(leaf: &Read<'_>) -> Result<(), X509SvidError> {
    const DIGITAL_SIGNATURE: u16 = 1;
    check_common(leaf)?;
    hold(leaf.x509.subject().iter().next().is_none(), "its subject is not empty")?;
    hold(leaf.names.critical, "its subject is empty and its alternative names are not critical")?;
    let constraints = leaf.basic_constraints.as_ref();
    hold(
        constraints.is_some_and(|is| is.critical && !is.value.ca),
        "it has no critical BasicConstraints with cA false",
    )?;
    let usage = leaf.key_usage.as_ref();
    let is_exact = usage.is_some_and(|usage| usage.critical && usage.value.flags == DIGITAL_SIGNATURE);
    hold(is_exact, "it has no critical KeyUsage of digitalSignature alone")?;
    let purposes = leaf.extended_key_usage.as_ref().map(|usage| &usage.value);
    let both = purposes.is_some_and(|usage| usage.server_auth && usage.client_auth);
    hold(both, "it has no ExtendedKeyUsage of serverAuth and clientAuth")
}

/// What holds of everything that is signed here.
fn check_common(certificate: &Read<'_>) -> Result<(), X509SvidError> {
    let serial = certificate.x509.raw_serial();
    // RFC 5280, section 4.1.2.2: positive, at most 20 octets; X.690, section 8.3.2: as short as can be.
    let is_shortest = match serial {
        [] | [0] | [0x80..=0xff, ..] => false,
        [0, second, ..] => *second >= 0x80,
        _ => true,
    };
    hold(is_shortest && serial.len() <= 20, "its serial number is not a positive integer of at most 20 octets")?;
    hold(certificate.x509.issuer().iter().next().is_some(), "its issuer has no name")?;
    hold(certificate.not_before < certificate.not_after, "it ends before it begins")?;
    hold(certificate.subject_key_id.is_some_and(|id| !id.is_empty()), "it has no subject key id")?;
    hold(!certificate.has_others, "it has an extension that is not put into certificates here")
}

fn check_key_ids(leaf: &Read<'_>, issuer: &Read<'_>) -> Result<(), X509SvidError> {
    let named = leaf.authority_key_id.is_some() && leaf.authority_key_id == issuer.subject_key_id;
    hold(named, "its authority key id is not its issuer's subject key id")
}

/// Checks the certificate of an X.509 authority of our own trust domain before it is published:
/// self-signed, or issued by an upstream authority whose signature is not looked at here. Holds it
/// against X509-SVID.md, sections 3.2, 4.1 and 4.3: the SPIFFE ID of the trust domain and no other
/// name, critical BasicConstraints with `cA`, critical KeyUsage of exactly `keyCertSign` and
/// `cRLSign` (appendix A), no extended key usage.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_authority(certificate: &Certificate, trust_domain: &TrustDomain) -> Result<(), X509SvidError> {
    const KEY_CERT_SIGN_AND_CRL_SIGN: u16 = 0b110_0000;
    super::check_anchor(certificate)?;
    let read = Read::new(certificate, Place::Alone)?;
    check_common(&read)?;
    hold(spiffe_id(&read)? == trust_domain.id(), "its SPIFFE ID is not that of the trust domain")?;
    let is_alone = matches!(read.names.value.as_slice(), [GeneralName::URI(_)]);
    hold(is_alone, "it has another name beside the SPIFFE ID of the trust domain")?;
    let constraints = read.basic_constraints.as_ref();
    hold(constraints.is_some_and(|is| is.critical && is.value.ca), "it has no critical BasicConstraints with cA true")?;
    let usage = read.key_usage.as_ref();
    let is_exact = usage.is_some_and(|usage| usage.critical && usage.value.flags == KEY_CERT_SIGN_AND_CRL_SIGN);
    hold(is_exact, "it has no critical KeyUsage of exactly keyCertSign and cRLSign")?;
    hold(read.extended_key_usage.is_none(), "it has an ExtendedKeyUsage")?;
    // Leaves name it as their issuer.
    hold(read.x509.subject().iter().next().is_some(), "its subject is empty")?;
    if read.x509.issuer().as_raw() == read.x509.subject().as_raw() {
        signature::verify(&read, &read)?;
    }
    Ok(())
}
