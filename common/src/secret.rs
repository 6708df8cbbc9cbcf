//! Values that must not be seen: private keys, sealing keys, tokens.
//!
//! Neither type here has `Debug`, `Display`, `Serialize` or `PartialEq`: a secret
//! cannot reach a log, an error or an audit record by accident, and is never
//! compared in variable time. Both are wiped when dropped. To read one, the
//! reader must say so with `expose`.

use zeroize::Zeroizing;

/// Bytes of a private or sealing key.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over; the caller must not keep a copy.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// A bearer token: whoever holds these bytes may present them.
#[derive(Clone)]
pub struct BearerToken(Zeroizing<String>);

impl BearerToken {
    /// Takes the token over; the caller must not keep a copy.
    pub fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }

    /// The token itself, for the one reply that it belongs in.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
