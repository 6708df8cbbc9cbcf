//! Every check of X509-SVID.md, section 5, in one fixed order.

use super::path::{self, Window, purposes};
use super::read::Read;
use super::{Certificate, MAX_CHAIN_CERTIFICATES, Place, X509SvidError};
use crate::bundle::Bundle;
use crate::clock::Timestamp;
use crate::spiffe_id::{SpiffeId, TrustDomain};

/// A chain that passed every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedX509Svid {
    /// Whose it is.
    pub spiffe_id: SpiffeId,
    /// The authority of the bundle that the chain leads to.
    pub authority: Certificate,
    /// The last moment at which all of it is valid: leaf, intermediates and authority.
    pub not_after: Timestamp,
}

/// Checks a chain, the leaf first and then what issued it, as X509-SVID.md, section 5 demands,
/// against the X.509 authorities of the ID's own trust domain; `bundle_of` finds that bundle.
///
/// There is no leeway in time. What the standard wants of those who issue is not held against a
/// chain where it changes nothing about what the leaf may do (a BasicConstraints that is left out,
/// an extension that is not critical). Revocation lists are not looked at.
///
/// # Errors
/// The first check that the chain fails. The order is fixed: bounds, the leaf's form and rules, the
/// form of the others, trust domain, path and its times from the leaf upward, the leaf's times.
pub fn validate<'b>(
    chain: &[Certificate],
    now: Timestamp,
    bundle_of: impl FnOnce(&TrustDomain) -> Option<&'b Bundle>,
) -> Result<ValidatedX509Svid, X509SvidError> {
    let chain = read_chain(chain)?;
    let spiffe_id = match chain.first() {
        Some(leaf) => check_leaf(leaf)?,
        None => return Err(X509SvidError::NoCertificate),
    };
    let bundle = bundle_of(&spiffe_id.trust_domain()).ok_or(X509SvidError::TrustDomain)?;
    // A lookup that answers with another domain's bundle must not make its authorities good for this one.
    if !spiffe_id.is_of(&bundle.trust_domain) {
        return Err(X509SvidError::TrustDomain);
    }
    // What cannot be read in a bundle is no authority.
    let (certificates, authorities): (Vec<_>, Vec<_>) = bundle
        .x509_authorities
        .iter()
        .filter_map(|certificate| Some((certificate, Read::new(certificate, Place::Authority).ok()?)))
        .unzip();
    let path = path::find(&chain, &authorities, Window { from: now, until: now })?;
    let (Some(certificate), Some(authority)) = (certificates.get(path.authority), authorities.get(path.authority))
    else {
        return Err(X509SvidError::NoAuthority);
    };
    let on_path = chain.iter().take(path.length).map(|certificate| certificate.not_after);
    let not_after = on_path.fold(authority.not_after, Timestamp::min);
    Ok(ValidatedX509Svid { spiffe_id, authority: (*certificate).clone(), not_after })
}

/// Reads the certificates of a chain, the leaf first; at most [`MAX_CHAIN_CERTIFICATES`].
pub(super) fn read_chain(chain: &[Certificate]) -> Result<Vec<Read<'_>>, X509SvidError> {
    if chain.len() > MAX_CHAIN_CERTIFICATES {
        return Err(X509SvidError::CHAIN_TOO_LONG);
    }
    chain.iter().zip(1..).map(|(certificate, number)| Read::new(certificate, Place::Chain(number))).collect()
}

/// The rules of X509-SVID.md for a leaf (sections 2, 4 and 5.2).
fn check_leaf(leaf: &Read<'_>) -> Result<SpiffeId, X509SvidError> {
    let spiffe_id = spiffe_id(leaf)?;
    if spiffe_id.path().is_empty() {
        return Err(X509SvidError::RootPath);
    }
    if leaf.is_ca() {
        return Err(X509SvidError::LeafIsAuthority);
    }
    let usage = leaf.key_usage.as_ref().ok_or(X509SvidError::KeyUsage)?.value;
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(X509SvidError::LeafSigns);
    }
    if !usage.digital_signature() {
        return Err(X509SvidError::KeyUsage);
    }
    purposes(leaf)?;
    Ok(spiffe_id)
}

/// The one URI of a certificate, if it is a SPIFFE ID.
pub(super) fn spiffe_id(certificate: &Read<'_>) -> Result<SpiffeId, X509SvidError> {
    let mut uris = certificate.uris();
    let uri = uris.next().ok_or(X509SvidError::NoSpiffeId)?;
    if uris.next().is_some() {
        return Err(X509SvidError::SeveralUris);
    }
    SpiffeId::parse(uri).map_err(X509SvidError::SpiffeId)
}
