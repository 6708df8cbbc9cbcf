//! SPIFFE IDs and trust domain names (SPIFFE-ID.md).
//!
//! Parsed by a byte scanner and never by a URL library: those decode `%`, resolve
//! `..`, fold case and add slashes, each of which would make two different IDs one.
//! A trust domain name is not a DNS name: `1.2.3.4`, `-` and `a..b` are legal.

mod scan;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use scan::SpiffeIdError;

/// The longest SPIFFE ID in bytes, scheme included (SPIFFE-ID.md, section 2.3).
pub const MAX_SPIFFE_ID_BYTES: usize = 2048;

/// The longest trust domain name in bytes (SPIFFE-ID.md, section 2.3).
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// The scheme and what follows it.
const SCHEME: &str = "spiffe://";

/// The name of a trust domain: the host part of its SPIFFE IDs (SPIFFE-ID.md, section 2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Parses a bare name (`example.org`), without scheme.
    ///
    /// # Errors
    /// The rule of the standard that the name breaks.
    pub fn parse(name: &str) -> Result<Self, SpiffeIdError> {
        scan::trust_domain(name)?;
        Ok(Self(name.into()))
    }

    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE ID of the trust domain itself: no path (SPIFFE-ID.md, section 2.2).
    pub fn id(&self) -> SpiffeId {
        SpiffeId(format!("{SCHEME}{}", self.0).into())
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

/// A SPIFFE ID (SPIFFE-ID.md, section 2): `spiffe://` trust domain, then an optional path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId(Arc<str>);

impl SpiffeId {
    /// Parses a whole ID.
    ///
    /// Upper case in scheme or trust domain is refused, not folded: what is compared
    /// byte for byte everywhere else must have one spelling.
    ///
    /// # Errors
    /// The rule of the standard that the ID breaks.
    pub fn parse(uri: &str) -> Result<Self, SpiffeIdError> {
        scan::spiffe_id(uri)?;
        Ok(Self(uri.into()))
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the trust domain that the ID is of.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.trust_domain_name().into())
    }

    /// Whether the ID is of trust domain `domain`.
    pub fn is_of(&self, domain: &TrustDomain) -> bool {
        self.trust_domain_name() == domain.as_str()
    }

    /// The path with its leading slash; empty for the ID of a trust domain itself.
    pub fn path(&self) -> &str {
        &self.0[SCHEME.len() + self.trust_domain_name().len()..]
    }

    fn trust_domain_name(&self) -> &str {
        let rest = &self.0[SCHEME.len()..];
        rest.split_once('/').map_or(rest, |(name, _)| name)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        Self::parse(uri)
    }
}
