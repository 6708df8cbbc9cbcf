//! The key that the authority's state is sealed under: 32 random bytes that the
//! operator keeps outside the store, in a file or a systemd credential.

use aws_lc_rs::hmac;
use countersign_common::secret::SecretBytes;
use zeroize::Zeroizing;

use super::key_file::{Fault, SecretSource};

#[cfg(test)]
mod tests;

/// Length of the key in bytes.
pub const SEALING_KEY_BYTES: usize = 32;

/// Length of a key's fingerprint in sealed records, in bytes.
pub(super) const FINGERPRINT_BYTES: usize = 8;

/// The key that the authority's state is sealed under. Has no `Debug`.
#[derive(Clone)]
pub struct SealingKey(SecretBytes);

/// Why there is no sealing key. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    /// It cannot be read, or others could have read or replaced it.
    #[error("cannot use the sealing key {place}: {fault}{}", advice(place, fault))]
    File {
        /// Which file or credential.
        place: SecretSource,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Not 32 bytes.
    #[error(
        "the sealing key {place} is not exactly 32 bytes long; a new one, for a new store only, comes from: {}",
        new_key(place)
    )]
    Length {
        /// Which file or credential.
        place: SecretSource,
    },
    /// All bytes are equal: a file that was never written, not a key.
    #[error("the sealing key {place} is one byte repeated, not a random key; restore it from its backup")]
    NotRandom {
        /// Which file or credential.
        place: SecretSource,
    },
}

/// How a sealing key is made.
fn new_key(place: &SecretSource) -> String {
    let file = match place {
        SecretSource::File(path) => path.display().to_string(),
        SecretSource::Credential(_) => "FILE".to_owned(),
    };
    format!("(umask 077; head -c 32 /dev/urandom > {file})")
}

fn advice(place: &SecretSource, fault: &Fault) -> String {
    match (place, fault) {
        (SecretSource::File(_), Fault::Unreadable(_)) => format!("; make one with: {}", new_key(place)),
        _ => String::new(),
    }
}

impl SealingKey {
    /// Reads the key. Blocks for one small file.
    ///
    /// The file holds the 32 bytes themselves, neither hexadecimal nor base64: there is
    /// one form, and a key that was truncated or edited has another length.
    ///
    /// # Errors
    /// There is no such key, or others could have read or replaced it.
    pub fn load(source: &SecretSource) -> Result<Self, SealingKeyError> {
        let own = || source.clone();
        let bytes = source.read(SEALING_KEY_BYTES).map_err(|fault| match fault {
            Fault::Length(_) => SealingKeyError::Length { place: own() },
            fault => SealingKeyError::File { place: own(), fault },
        })?;
        let key: &[u8; SEALING_KEY_BYTES] =
            bytes.as_slice().try_into().map_err(|_| SealingKeyError::Length { place: own() })?;
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(SealingKeyError::NotRandom { place: own() });
        }
        Ok(Self(SecretBytes::new(key.to_vec())))
    }

    /// Takes key material that is already in hand.
    pub fn from_bytes(bytes: [u8; SEALING_KEY_BYTES]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(SecretBytes::new(bytes.to_vec()))
    }

    /// The key material.
    pub(super) fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// Tells sealing keys apart without telling anything about them.
    pub(super) fn fingerprint(&self) -> [u8; FINGERPRINT_BYTES] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.expose());
        let tag = hmac::sign(&key, b"countersign: name of a sealing key");
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        fingerprint.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        fingerprint
    }
}
