//! X509-SVIDs (X509-SVID.md): what we put into one, and how any is checked.

mod der;
mod error;
mod facts;
mod issued;
mod path;
pub mod pem;
mod public_key;
mod read;
mod signature;
mod validate;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

pub use der::{concatenated, split};
pub use error::{Place, X509SvidError};
pub use facts::{CertificateFacts, facts};
pub use issued::{Meant, check_authority, check_issued};
pub(crate) use public_key::authority_key;
pub use public_key::check_anchor;
pub use validate::{ValidatedX509Svid, validate};

use crate::clock::Timestamp;
use crate::secret::SecretBytes;
use crate::spiffe_id::SpiffeId;

/// The longest certificate that is read, in bytes: room for a SPIFFE ID of 2048 bytes, 32 DNS names
/// and the largest RSA key and signature.
pub const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;

/// The most certificates of a chain, the leaf included; stock clients take no more.
pub const MAX_CHAIN_CERTIFICATES: usize = 16;

/// A certificate in DER. Clones share the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Certificate(Arc<[u8]>);

impl Certificate {
    /// Takes bytes for what they are said to be; nothing is checked.
    pub fn from_der(der: impl Into<Arc<[u8]>>) -> Self {
        Self(der.into())
    }

    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({} bytes)", self.0.len())
    }
}

/// An X509-SVID that was issued here, with its private key. Has no `Debug`.
pub struct X509Svid {
    /// Whose it is.
    pub spiffe_id: SpiffeId,
    /// The leaf, then the intermediates that lead to an authority of the bundle, without that one.
    pub chain: Vec<Certificate>,
    /// The leaf's private key, PKCS#8 in DER.
    pub key: SecretBytes,
    /// From when on the leaf is valid.
    pub not_before: Timestamp,
    /// The last moment at which the leaf is valid.
    pub not_after: Timestamp,
    /// The leaf's serial number in lower-case hexadecimal.
    pub serial: String,
    /// Which X.509 authority signed the leaf: its subject key id in lower-case hexadecimal.
    pub authority: String,
}
