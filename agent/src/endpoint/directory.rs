//! Which directories may hold a socket: those where nobody else can put another socket in
//! its place.
//!
//! A workload trusts whoever answers at the path that it was told. So every directory on the
//! way must belong to root or to this user, and be writable by nobody else; see
//! [`crate::trusted_path`].

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::SocketError;
use crate::trusted_path::{self, Owners, PathError};

/// Makes the directory with exactly `mode` if it is not there; one that is there stays as it
/// is. Its parent must exist.
///
/// # Errors
/// The directory cannot be made.
pub(super) fn make(directory: &Path, mode: u32) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io { doing: "make the directory", path: directory.to_owned(), source };
    match DirBuilder::new().mode(mode).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    // The umask took bits away, it never adds any: until here the directory was too narrow.
    open(directory).and_then(|made| made.set_permissions(Permissions::from_mode(mode))).map_err(failed)
}

/// Checks every directory from the root down to the one that is to hold the socket, through
/// every link on the way.
///
/// # Errors
/// Somebody else could replace one of them, or what is in the last one.
pub(super) fn check(directory: &Path) -> Result<(), SocketError> {
    match trusted_path::walk(directory, Owners::RootAndThisUser) {
        Ok(_) => Ok(()),
        Err(PathError::Untrusted { path, fault }) => Err(SocketError::Directory { path, fault }),
        Err(PathError::Unreadable { path, source }) => {
            Err(SocketError::Io { doing: "look at the directory", path, source })
        }
    }
}

fn open(directory: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(directory)
}
