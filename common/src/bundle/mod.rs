//! Trust bundles: the public keys by which the SVIDs of a trust domain are known
//! (`SPIFFE_Trust_Domain_and_Bundle.md`), and the documents that publish them.

mod jwk;
mod read;
mod set;
mod write;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use read::{DEFAULT_REFRESH_HINT, MAX_BUNDLE_BYTES};
pub use set::BundleSet;

use crate::spiffe_id::TrustDomain;
use crate::svid::jwt::Algorithm;
use crate::svid::x509::{self, Certificate};

/// A JWT authority: a public key that signs JWT-SVIDs, and its key id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtAuthority {
    /// Key id, unique in the trust domain.
    pub kid: String,
    /// The one algorithm that we sign with under this key; `None` in bundles of others that do not say.
    pub algorithm: Option<Algorithm>,
    /// The key itself.
    pub key: PublicKey,
}

/// A public key as JSON Web Keys carry it (RFC 7518, section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// A point of a NIST curve: the uncompressed form `04 || x || y`.
    Ec {
        /// Which curve.
        curve: Curve,
        /// `04 || x || y`, coordinates of full length.
        point: Vec<u8>,
    },
    /// RSA modulus and exponent, big-endian, without leading zeros.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Public exponent.
        e: Vec<u8>,
    },
}

/// The NIST curves that JWT-SVID algorithms use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// secp256r1
    P256,
    /// secp384r1
    P384,
    /// secp521r1
    P521,
}

/// The trust bundle of one trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Whose keys these are.
    pub trust_domain: TrustDomain,
    /// Rises with every change of the content (`spiffe_sequence`).
    pub sequence: u64,
    /// How often others should look again (`spiffe_refresh_hint`).
    pub refresh_hint: Duration,
    /// The keys that JWT-SVIDs are checked with.
    pub jwt_authorities: Vec<JwtAuthority>,
    /// The certificates of its X.509 authorities: what X509-SVIDs are checked with. Each passes
    /// [`check_anchor`](crate::svid::x509::check_anchor).
    pub x509_authorities: Vec<Certificate>,
}

/// Why a text is not a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// More than [`MAX_BUNDLE_BYTES`].
    #[error("a bundle of more than {MAX_BUNDLE_BYTES} bytes is not read")]
    TooLarge,
    /// Not JSON, a member stands twice, or not an object with a list `keys`.
    #[error("not a JSON Web Key Set: {0}")]
    NotAKeySet(String),
    /// A member of the document is there and is not the integer that it must be.
    #[error("{0} is not an integer of at most 64 bits")]
    NotAnInteger(&'static str),
    /// Two usable keys have one name: which of them a token means cannot be told.
    #[error("two keys have the key id {0:?}")]
    RepeatedKeyId(String),
}

impl Bundle {
    /// The JWK Set that the Workload API hands out: keys of JWT-SVIDs alone
    /// (`SPIFFE_Workload_API.md`, section 6.2.2), and no `use`, since stock JOSE libraries
    /// drop keys whose `use` they do not know.
    pub fn to_jwks(&self) -> String {
        write::jwks(self)
    }

    /// The SPIFFE bundle document: keys of both kinds with their `use`, sequence and refresh hint.
    pub fn to_spiffe_document(&self) -> String {
        write::spiffe_document(self)
    }

    /// The certificates of the X.509 authorities in DER, one after the other: the form of
    /// the Workload API (`SPIFFE_Workload_API.md`, sections 5.2.1 and 5.2.2). Empty if there are none.
    pub fn to_x509_der(&self) -> Vec<u8> {
        x509::concatenated(&self.x509_authorities)
    }

    /// Reads a JWK Set or SPIFFE bundle document as the bundle of `trust_domain`.
    ///
    /// Keys without `use`, with `use: sig` and with `use: jwt-svid` are JWT authorities. Keys with
    /// `use: x509-svid` are X.509 authorities by the first certificate of their `x5c`; they are left
    /// out if there is none, it is not that of an authority, or the key beside it is another one
    /// (X509-SVID.md, section 6.2; RFC 7517, section 4.7), and a certificate that stands twice is
    /// taken once. Keys of another use or type, without `kid`, malformed, off their curve or below
    /// 2048 bits are left out (sections 4.2.1 and 4.2.2; RFC 7517, section 5): leaving a
    /// key out only ever makes fewer tokens valid. A set without usable keys is a bundle
    /// that validates nothing (section 4.1.3). The sequence is 0 and the hint
    /// [`DEFAULT_REFRESH_HINT`] where the document has none.
    ///
    /// # Errors
    /// The text is not a JWK Set at all, or means two things.
    pub fn parse(trust_domain: TrustDomain, text: &str) -> Result<Self, BundleError> {
        read::bundle(trust_domain, text)
    }
}
