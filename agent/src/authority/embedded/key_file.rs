//! Files that others may not read or replace: found, opened, judged, read.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Where a secret is that the operator keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that belongs to root or the agent's user and is not open to anybody else.
    File(PathBuf),
    /// A credential of that name, given by systemd (`LoadCredentialEncrypted=`, systemd.exec(5)).
    Credential(String),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be opened or read.
    #[error("{0}")]
    Unreadable(std::io::Error),
    /// A directory, a device, a pipe.
    #[error("it is not a regular file")]
    NotAFile,
    /// Somebody else could replace it: whose it is.
    #[error("it belongs to uid {0}; it must belong to root or to the agent's own user")]
    Owner(u32),
    /// Others may do what they may not.
    #[error("it has mode {found:04o}, which lets others at it; run chmod {allowed:o} on it")]
    Mode {
        /// Its permission bits.
        found: u32,
        /// Those that it may have.
        allowed: u32,
    },
    /// It is longer than it may be, in bytes.
    #[error("it is longer than {0} bytes")]
    Length(usize),
    /// It is not UTF-8.
    #[error("it is not text")]
    NotText,
    /// The service manager gave no credentials.
    #[error("CREDENTIALS_DIRECTORY is not set; is LoadCredentialEncrypted= in the unit?")]
    NoCredentials,
    /// A credential's name that would leave the directory of credentials.
    #[error("that is not the name of a credential: a file name without slashes")]
    CredentialName,
}

/// Bits that a file may have.
pub(super) const FILE_MODE: u32 = 0o600;

/// Bits that a credential may have. systemd lets a service's user read it by an access
/// control list, whose mask shows as the group's read bit.
pub(super) const CREDENTIAL_MODE: u32 = 0o640;

impl SecretSource {
    /// Reads all of it, at most `most` bytes. Blocks for one small file.
    pub(super) fn read(&self, most: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        match self {
            Self::File(path) => read(path, FILE_MODE, most),
            Self::Credential(name) => read(&credential_path(directory.as_deref(), name)?, CREDENTIAL_MODE, most),
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

pub(super) fn credential_path(directory: Option<&Path>, name: &str) -> Result<PathBuf, Fault> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(Fault::CredentialName);
    }
    directory.map(|directory| directory.join(name)).ok_or(Fault::NoCredentials)
}

/// Opens a file that belongs to root or to this user, and has no permission bits but `allowed`.
pub(super) fn open(path: &Path, allowed: u32) -> Result<File, Fault> {
    // O_NONBLOCK: a pipe in the file's place must not hang the start.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(Fault::Unreadable)?;
    // The open file is judged, not the path: nothing can be swapped in between.
    let metadata = file.metadata().map_err(Fault::Unreadable)?;
    judge(&metadata, allowed, nix::unistd::geteuid().as_raw())?;
    Ok(file)
}

pub(super) fn judge(metadata: &Metadata, allowed: u32, own_uid: u32) -> Result<(), Fault> {
    let (uid, found) = (metadata.uid(), metadata.mode() & 0o7777);
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    if uid != 0 && uid != own_uid {
        return Err(Fault::Owner(uid));
    }
    if found & !allowed != 0 {
        return Err(Fault::Mode { found, allowed });
    }
    Ok(())
}

/// Reads a whole file of at most `most` bytes; no copy of it is left behind.
pub(super) fn read(path: &Path, allowed: u32, most: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let file = open(path, allowed)?;
    // One byte more than there may be, so that a longer file shows; of full size from the start,
    // so that growing leaves no copies.
    let mut bytes = Zeroizing::new(vec![0; most + 1]);
    let mut length = 0;
    let mut file = file.take(bytes.len() as u64);
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Unreadable(error)),
        }
    }
    if length > most {
        return Err(Fault::Length(most));
    }
    bytes.truncate(length);
    Ok(bytes)
}
