//! The signature algorithms of JWT-SVIDs, and the keys that fit them.

use std::fmt;
use std::str::FromStr;

use crate::bundle::{Curve, PublicKey};

/// The nine signature algorithms of JWT-SVID.md, section 2.1. No others exist here:
/// what is not in this list cannot be asked for by a token's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of RFC 7518, section 3.1")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
    Es512,
    Ps256,
    Ps384,
    Ps512,
}

/// A name that is none of the nine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JWT-SVID algorithm: one of RS256 RS384 RS512 ES256 ES384 ES512 PS256 PS384 PS512")]
pub struct UnknownAlgorithm;

impl Algorithm {
    /// All nine, in the order of the standard.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
    ];

    /// The name in a header's `alg` (RFC 7518, section 3.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    /// Whether `key` is of the type, and for elliptic curves of the one curve, that the
    /// algorithm is defined for (RFC 7518, sections 3.3 to 3.5).
    pub const fn fits(self, key: &PublicKey) -> bool {
        match (self.curve(), key) {
            (None, PublicKey::Rsa { .. }) => true,
            (Some(Curve::P256), PublicKey::Ec { curve: Curve::P256, .. })
            | (Some(Curve::P384), PublicKey::Ec { curve: Curve::P384, .. })
            | (Some(Curve::P521), PublicKey::Ec { curve: Curve::P521, .. }) => true,
            (None | Some(_), _) => false,
        }
    }

    /// The curve of an ECDSA algorithm; `None` for RSA.
    const fn curve(self) -> Option<Curve> {
        match self {
            Self::Es256 => Some(Curve::P256),
            Self::Es384 => Some(Curve::P384),
            Self::Es512 => Some(Curve::P521),
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Case counts (RFC 7515, section 4.1.1).
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or(UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jt_3_exactly_nine_names_are_known() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
        }
        for name in ["", "none", "NONE", "HS256", "EdDSA", "Ed25519", "ES256K", "es256", "ES256 ", "RS1"] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name}");
        }
    }

    #[test]
    fn jt_10_an_algorithm_fits_its_own_key_type_and_curve_only() {
        let rsa = PublicKey::Rsa { n: vec![1], e: vec![3] };
        let curves = [Curve::P256, Curve::P384, Curve::P521];
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.fits(&rsa), !algorithm.name().starts_with("ES"), "{algorithm}");
            let fitting =
                curves.into_iter().filter(|curve| algorithm.fits(&PublicKey::Ec { curve: *curve, point: vec![] }));
            assert_eq!(fitting.count(), usize::from(algorithm.name().starts_with("ES")), "{algorithm}");
        }
    }
}
