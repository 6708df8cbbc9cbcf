//! Which check a chain of certificates failed: one variant for each.

use std::fmt;

use super::{MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES};
use crate::spiffe_id::SpiffeIdError;

/// Which certificate is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A certificate that stands in no chain.
    Alone,
    /// In a chain: the leaf is the first, an intermediate the second or a later one.
    Chain(usize),
    /// A certificate of the bundle.
    Authority,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => f.write_str("the certificate"),
            Self::Chain(1) => f.write_str("the leaf certificate"),
            Self::Chain(number) => write!(f, "certificate {number} of the chain"),
            Self::Authority => f.write_str("the X.509 authority in the bundle"),
        }
    }
}

/// Which check a chain of certificates, or one of them, failed. The texts are for operators;
/// they quote nothing of what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum X509SvidError {
    /// Nothing to check.
    #[error("there is no certificate")]
    NoCertificate,
    /// More certificates than a reader takes.
    #[error("there are more than {0} certificates")]
    TooMany(usize),
    /// Longer than [`MAX_CERTIFICATE_BYTES`].
    #[error("a certificate is longer than {MAX_CERTIFICATE_BYTES} bytes")]
    TooLarge,
    /// Bytes that are not DER certificates, one after the other.
    #[error("not certificates in DER, one after the other")]
    Form,
    /// A block of PEM (RFC 7468) that is not closed, not base64, or closed under another label.
    #[error("line {0}: a PEM block is not closed, not closed under its own label, or not base64")]
    Pem(usize),
    /// No block of PEM has the private key that was looked for.
    #[error(
        "there is no block BEGIN PRIVATE KEY; other forms of key are turned into it by openssl pkcs8 -topk8 -nocrypt"
    )]
    NoPrivateKey,
    /// Not a certificate of version 3 in DER (RFC 5280, section 4.1), or one of the extensions
    /// that have to be judged is malformed.
    #[error("{0} cannot be read as an X.509 certificate of version 3")]
    Malformed(Place),
    /// RFC 5280, section 4.2: an extension stands once.
    #[error("{0} has an extension twice")]
    RepeatedExtension(Place),
    /// RFC 5280, section 4.2: a critical extension that is not understood refuses the certificate.
    #[error("{0} has a critical extension that is not understood here")]
    CriticalExtension(Place),
    /// X509-SVID.md, section 5.2.
    #[error("the leaf certificate has no URI among its alternative names, so no SPIFFE ID")]
    NoSpiffeId,
    /// X509-SVID.md, sections 2 and 5.2.
    #[error("the leaf certificate has more than one URI among its alternative names")]
    SeveralUris,
    /// The URI is no SPIFFE ID (X509-SVID.md, section 5.2).
    #[error("the URI of the leaf certificate is not a SPIFFE ID: it {0}")]
    SpiffeId(SpiffeIdError),
    /// X509-SVID.md, section 5.2: a leaf's SPIFFE ID has a path.
    #[error("the SPIFFE ID of the leaf certificate has no path, so it is no workload's")]
    RootPath,
    /// X509-SVID.md, section 5.2: `cA` is true.
    #[error("the leaf certificate is that of a certificate authority")]
    LeafIsAuthority,
    /// X509-SVID.md, section 5.2: `keyCertSign` or `cRLSign`.
    #[error("the key of the leaf certificate may sign certificates or revocation lists")]
    LeafSigns,
    /// X509-SVID.md, section 4.3: a key usage with `digitalSignature`.
    #[error("the leaf certificate has no key usage with digitalSignature")]
    KeyUsage,
    /// X509-SVID.md, section 4.4: where an extended key usage is, both purposes are in it.
    #[error("{0} has an extended key usage without both serverAuth and clientAuth")]
    ExtendedKeyUsage(Place),
    /// No bundle of the ID's trust domain is known (`SPIFFE_Workload_API.md`, section 4.6).
    #[error("the trust domain of the SPIFFE ID is not trusted here: there is no bundle of it")]
    TrustDomain,
    /// The chain ends before an authority of the trust domain's bundle.
    #[error("no X.509 authority of the trust domain's bundle issued any certificate of the chain")]
    NoAuthority,
    /// RFC 5280, section 6.1.3 (a)(4): names are chained.
    #[error("{0} names another issuer than the certificate after it; the leaf comes first, then what issued it")]
    Issuer(Place),
    /// RFC 5280, section 6.1.4 (k) and (n).
    #[error("{0} may not issue certificates: it lacks cA or keyCertSign")]
    NotAnAuthority(Place),
    /// RFC 5280, section 6.1.4 (m).
    #[error("{0} allows fewer certificates below it than there are")]
    PathLength(Place),
    /// RFC 5280, section 4.2.1.10: names of a constrained form have to be judged or refused.
    #[error("{0} constrains a form of names that is in the chain; such constraints are not judged here")]
    NameConstraints(Place),
    /// Neither ECDSA over P-256, P-384 or P-521 nor RSA of 2048 to 8192 bits, with SHA-2.
    #[error("{0} is signed with an algorithm or key that is not taken here")]
    SignatureAlgorithm(Place),
    /// RFC 5280, section 6.1.3 (a)(1).
    #[error("the signature of {0} is wrong")]
    Signature(Place),
    /// RFC 5280, section 6.1.3 (a)(2): `notAfter` has passed.
    #[error("{0} has expired")]
    Expired(Place),
    /// RFC 5280, section 6.1.3 (a)(2): `notBefore` has not come.
    #[error("{0} is not valid yet")]
    NotYetValid(Place),
    /// Of a product of our own: which rule of what is issued here it breaks.
    #[error("the certificate is not as certificates are issued here: {0}")]
    Profile(&'static str),
}

impl X509SvidError {
    /// A chain is longer than any that is taken.
    pub(super) const CHAIN_TOO_LONG: Self = Self::TooMany(MAX_CHAIN_CERTIFICATES);
}
