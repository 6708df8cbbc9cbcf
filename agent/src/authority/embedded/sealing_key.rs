//! The key that the authority's state is sealed under: 32 random bytes that the
//! operator keeps outside the store, in a file or a systemd credential.

use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use countersign_common::secret::SecretBytes;
use zeroize::Zeroizing;

use super::key_file::{self, Fault};

#[cfg(test)]
mod tests;

/// Length of the key in bytes.
pub const SEALING_KEY_BYTES: usize = 32;

/// Length of a key's fingerprint in sealed records, in bytes.
pub(super) const FINGERPRINT_BYTES: usize = 8;

/// The key that the authority's state is sealed under. Has no `Debug`.
#[derive(Clone)]
pub struct SealingKey(SecretBytes);

/// Where the sealing key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealingKeySource {
    /// A file of exactly 32 bytes, owned by root or the agent's user, not open to anybody else.
    File(PathBuf),
    /// A credential of that name, given by systemd (`LoadCredentialEncrypted=`, systemd.exec(5)).
    Credential(String),
}

/// Why there is no sealing key. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    /// The file cannot be opened or read.
    #[error("cannot read the sealing key {path}; make one with: (umask 077; head -c 32 /dev/urandom > {path})")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("the sealing key {path} is not a regular file")]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// Somebody else could replace it.
    #[error("the sealing key {path} belongs to uid {uid}; it must belong to root or to the agent's own user")]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Somebody else may read or write it.
    #[error("the sealing key {path} has mode {mode:04o}, which lets others at it; run: chmod 600 {path}")]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 32 bytes.
    #[error(
        "the sealing key {path} is not exactly 32 bytes long; a new one (for a new store only) comes from: \
         (umask 077; head -c 32 /dev/urandom > {path})"
    )]
    Length {
        /// Which file.
        path: PathBuf,
    },
    /// All bytes are equal: a file that was never written, not a key.
    #[error("the sealing key {path} is one byte repeated, not a random key; restore it from its backup")]
    NotRandom {
        /// Which file.
        path: PathBuf,
    },
    /// The service manager gave no credentials.
    #[error(
        "there is no credential {name}: CREDENTIALS_DIRECTORY is not set; \
         is LoadCredentialEncrypted={name}:... in the unit?"
    )]
    NoCredentials {
        /// The credential that was looked for.
        name: String,
    },
    /// A name that would leave the directory of credentials.
    #[error("{name:?} is not the name of a credential: a file name without slashes")]
    CredentialName {
        /// The name as configured.
        name: String,
    },
}

impl SealingKey {
    /// Reads the key. Blocks for one small file.
    ///
    /// The file holds the 32 bytes themselves, neither hexadecimal nor base64: there is
    /// one form, and a key that was truncated or edited has another length.
    ///
    /// # Errors
    /// There is no such key, or others could have read or replaced it.
    pub fn load(source: &SealingKeySource) -> Result<Self, SealingKeyError> {
        match source {
            SealingKeySource::File(path) => read(path, FILE_MODE),
            SealingKeySource::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
                read(&credential_path(directory.as_deref(), name)?, CREDENTIAL_MODE)
            }
        }
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

/// Bits that a key file may have.
const FILE_MODE: u32 = 0o600;

/// Bits that a credential may have. systemd lets a service's user read it by an access
/// control list, whose mask shows as the group's read bit.
const CREDENTIAL_MODE: u32 = 0o640;

fn credential_path(directory: Option<&Path>, name: &str) -> Result<PathBuf, SealingKeyError> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(SealingKeyError::CredentialName { name: name.to_owned() });
    }
    directory
        .map(|directory| directory.join(name))
        .ok_or_else(|| SealingKeyError::NoCredentials { name: name.to_owned() })
}

fn read(path: &Path, allowed: u32) -> Result<SealingKey, SealingKeyError> {
    let bytes = key_file::read(path, allowed, SEALING_KEY_BYTES).map_err(|fault| SealingKeyError::of(path, fault))?;
    let key: &[u8; SEALING_KEY_BYTES] =
        bytes.as_slice().try_into().map_err(|_| SealingKeyError::Length { path: path.to_owned() })?;
    if key.iter().all(|byte| *byte == key[0]) {
        return Err(SealingKeyError::NotRandom { path: path.to_owned() });
    }
    Ok(SealingKey(SecretBytes::new(key.to_vec())))
}

impl SealingKeyError {
    fn of(path: &Path, fault: Fault) -> Self {
        let path = path.to_owned();
        match fault {
            Fault::Unreadable(source) => Self::Unreadable { path, source },
            Fault::NotAFile => Self::NotAFile { path },
            Fault::Owner(uid) => Self::Owner { path, uid },
            Fault::Mode(mode) => Self::Mode { path, mode },
            Fault::Length => Self::Length { path },
        }
    }
}
