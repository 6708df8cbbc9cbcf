//! Where the private half of a key is, and what stands for it at rest.

use std::sync::Arc;

use countersign_common::secret::SecretBytes;
use countersign_common::svid::jwt::Algorithm;
use serde::{Deserialize, Serialize};

use super::pkcs11::{Pkcs11Key, Pkcs11Token, REFERENCE};
use super::sealed::StateError;

/// Where the private halves of keys are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldIn {
    /// In the authority's sealed state, and in this process.
    #[default]
    State,
    /// In a PKCS#11 token. The state has only the name of each.
    Pkcs11,
}

impl HeldIn {
    /// The word for it, as in the admin API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Pkcs11 => "pkcs11",
        }
    }

    pub(super) fn is_state(&self) -> bool {
        *self == Self::State
    }
}

/// A private key that was saved, before it is known what it is the private half of.
pub(super) enum PrivateKey {
    /// In DER.
    Here(SecretBytes),
    /// By its name.
    There(Pkcs11Key),
}

impl PrivateKey {
    /// What `at_rest` stands for. Blocks for the token, if it is there.
    ///
    /// # Errors
    /// It is damaged, or the key is in a token and cannot be found there.
    pub(super) fn read(
        at_rest: SecretBytes,
        algorithm: Algorithm,
        token: Option<&Arc<Pkcs11Token>>,
    ) -> Result<Self, StateError> {
        let Some(reference) = at_rest.expose().strip_prefix(REFERENCE) else { return Ok(Self::Here(at_rest)) };
        let token = token.ok_or(StateError::NoToken)?;
        let found = token.saved_key(algorithm, reference).ok_or(StateError::Damaged)?;
        found.map(Self::There).map_err(|error| StateError::Token(error.to_string()))
    }

    pub(super) fn held_in(&self) -> HeldIn {
        match self {
            Self::Here(_) => HeldIn::State,
            Self::There(_) => HeldIn::Pkcs11,
        }
    }
}
