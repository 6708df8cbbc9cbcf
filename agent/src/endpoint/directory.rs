//! Which directories may hold a socket: those where nobody else can put another socket in
//! its place.
//!
//! A workload trusts whoever answers at the path that it was told. So every directory on the
//! way must belong to root or to this user, and be writable by nobody else. On the way there
//! a sticky directory such as /tmp is good enough: what belongs to us cannot be moved in it.
//! The last directory may not be sticky either: the name of the socket could be taken first.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::unistd::geteuid;

use super::SocketError;

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

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

/// Checks every directory from the root down to the one that is to hold the socket, both as
/// it was named and as it really is.
///
/// # Errors
/// Somebody else could replace one of them, or what is in the last one.
pub(super) fn check(directory: &Path) -> Result<(), SocketError> {
    let real = fs::canonicalize(directory).map_err(|source| SocketError::Io {
        doing: "look at the directory",
        path: directory.to_owned(),
        source,
    })?;
    for named in directory.ancestors().chain(real.ancestors()) {
        let found = fs::symlink_metadata(named).map_err(|source| SocketError::Io {
            doing: "look at the directory",
            path: named.to_owned(),
            source,
        })?;
        if let Some(fault) = Found::of(&found, named == real).fault(geteuid().as_raw()) {
            return Err(SocketError::Directory { path: named.to_owned(), fault });
        }
    }
    Ok(())
}

/// What decides about a directory, or a link, on the way to a socket.
#[derive(Clone, Copy)]
struct Found {
    uid: u32,
    gid: u32,
    mode: u32,
    is_link: bool,
    holds_the_socket: bool,
}

impl Found {
    fn of(found: &Metadata, holds_the_socket: bool) -> Self {
        Self { uid: found.uid(), gid: found.gid(), mode: found.mode(), is_link: found.is_symlink(), holds_the_socket }
    }

    fn fault(self, us: u32) -> Option<DirectoryFault> {
        if self.uid != 0 && self.uid != us {
            return Some(DirectoryFault::Owner(self.uid));
        }
        // A link's own bits mean nothing; where it points is checked by its real name.
        let group_writes = if self.gid == 0 { 0 } else { GROUP_WRITES };
        let is_writable = !self.is_link && self.mode & (OTHERS_WRITE | group_writes) != 0;
        let is_guarded = self.mode & STICKY != 0 && !self.holds_the_socket;
        (is_writable && !is_guarded).then_some(DirectoryFault::Writable)
    }
}

/// Why a directory cannot be trusted with a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFault {
    /// Somebody else could rename it or change its mode.
    #[error("belongs to uid {0}; it must belong to root or to the user of the agent")]
    Owner(u32),
    /// Somebody else could put a socket of their own there.
    #[error("may be written by others; take that away (chmod go-w), or use a directory of its own")]
    Writable,
}

fn open(directory: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u32 = 1000;

    fn fault(uid: u32, gid: u32, mode: u32, holds_the_socket: bool) -> Option<DirectoryFault> {
        Found { uid, gid, mode, is_link: false, holds_the_socket }.fault(US)
    }

    #[test]
    fn only_root_and_this_user_may_own_a_directory() {
        assert_eq!(fault(0, 0, 0o755, false), None);
        assert_eq!(fault(US, US, 0o755, true), None);
        assert_eq!(fault(1001, 0, 0o700, false), Some(DirectoryFault::Owner(1001)));
    }

    #[test]
    fn nobody_else_may_write_except_below_a_sticky_bit() {
        let writable = Some(DirectoryFault::Writable);
        assert_eq!(fault(US, US, 0o775, false), writable, "by a group");
        assert_eq!(fault(US, 0, 0o775, true), None, "by the group of root");
        assert_eq!(fault(0, 0, 0o757, false), writable, "by everybody");
        assert_eq!(fault(0, 0, 0o1777, false), None, "as /tmp, on the way");
        assert_eq!(fault(0, 0, 0o1777, true), writable, "as /tmp, with the socket in it");
    }

    #[test]
    fn a_link_counts_by_its_owner() {
        let link = Found { uid: US, gid: US, mode: 0o777, is_link: true, holds_the_socket: false };
        assert_eq!(link.fault(US), None);
        assert_eq!(Found { uid: 1001, ..link }.fault(US), Some(DirectoryFault::Owner(1001)));
    }
}
