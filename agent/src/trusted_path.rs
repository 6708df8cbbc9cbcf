//! Whether a path leads where it did when it was configured, whatever unprivileged users do.
//!
//! Sockets are found by their paths, in both directions: a workload believes whoever answers at
//! the path that it was told, and so does the agent where it asks a daemon. So the way is walked
//! as the kernel walks it (path_resolution(7)), link by link, and every directory and every link on
//! it must belong to somebody trusted, and every directory be writable by nobody else. On the way
//! a sticky directory such as /tmp is good enough: what belongs to the trusted cannot be moved in
//! it. The last directory may not be sticky either: a name in it could be taken first.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::unistd::geteuid;

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// How many links are followed; as many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Who may be able to change where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Root and the user of the agent, and whoever is in the group of root.
    RootAndThisUser,
    /// Root alone. The group of root is not root: it often is that of processes in containers, and
    /// where a file has an access control list its bits are those of the list's users (acl(5)).
    Root,
}

impl fmt::Display for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RootAndThisUser => "root or to the user of the agent",
            Self::Root => "root",
        })
    }
}

/// Why a directory, or a link, on the way cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Somebody else could rename it or change its mode.
    #[error("belongs to uid {uid}; it must belong to {owners}")]
    Owner {
        /// To whom it belongs.
        uid: u32,
        /// To whom it must belong.
        owners: Owners,
    },
    /// Somebody else could put something of their own there.
    #[error("may be written by others; take that away (chmod go-w), or use a directory of its own")]
    Writable,
}

/// Why a path is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// Somebody untrusted could change where it leads.
    #[error("the directory {path} {fault}")]
    Untrusted {
        /// The directory or link, as it was met on the way.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The way could not be walked to its end.
    #[error("cannot look at the directory {path}: {source}")]
    Unreadable {
        /// How far the way led.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Walks from the root to `directory`, which is absolute, and checks everything on the way. Where
/// it leads, without links: whoever is trusted with the answer can be changed by `owners` only.
///
/// # Errors
/// Somebody else could change where it leads, or what is in it; or it is no directory.
pub fn walk(directory: &Path, owners: Owners) -> Result<PathBuf, PathError> {
    let mut ahead: VecDeque<OsString> = VecDeque::new();
    put_in_front(&mut ahead, directory);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    check(&here, &look_at(&here)?, false, owners)?;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            // No link is in `here`, so its parent is what the kernel would find; it was checked.
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let found = look_at(&next)?;
        check(&next, &found, false, owners)?;
        if !found.is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        let unreadable = |source| PathError::Unreadable { path: next.clone(), source };
        if links > MAX_LINKS {
            return Err(unreadable(io::Error::from_raw_os_error(libc::ELOOP)));
        }
        let target = fs::read_link(&next).map_err(unreadable)?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        put_in_front(&mut ahead, &target);
    }
    let found = look_at(&here)?;
    if !found.is_dir() {
        return Err(PathError::Unreadable { path: here, source: io::Error::from_raw_os_error(libc::ENOTDIR) });
    }
    check(&here, &found, true, owners)?;
    Ok(here)
}

/// The parts of `path` that move, before what is still ahead.
fn put_in_front(ahead: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => ahead.push_front(name.to_owned()),
            Component::ParentDir => ahead.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

fn look_at(path: &Path) -> Result<Metadata, PathError> {
    fs::symlink_metadata(path).map_err(|source| PathError::Unreadable { path: path.to_owned(), source })
}

fn check(path: &Path, found: &Metadata, is_last: bool, owners: Owners) -> Result<(), PathError> {
    match Found::of(found, is_last).fault(owners, geteuid().as_raw()) {
        None => Ok(()),
        Some(fault) => Err(PathError::Untrusted { path: path.to_owned(), fault }),
    }
}

/// What decides about a directory, or a link, on the way.
#[derive(Clone, Copy)]
struct Found {
    uid: u32,
    gid: u32,
    mode: u32,
    is_link: bool,
    is_last: bool,
}

impl Found {
    fn of(found: &Metadata, is_last: bool) -> Self {
        Self { uid: found.uid(), gid: found.gid(), mode: found.mode(), is_link: found.is_symlink(), is_last }
    }

    fn fault(self, owners: Owners, us: u32) -> Option<Fault> {
        let (is_owned, root_group_is_trusted) = match owners {
            Owners::RootAndThisUser => (self.uid == 0 || self.uid == us, true),
            Owners::Root => (self.uid == 0, false),
        };
        if !is_owned {
            return Some(Fault::Owner { uid: self.uid, owners });
        }
        // A link's own bits mean nothing; where it points is walked too.
        let group_writes = if self.gid == 0 && root_group_is_trusted { 0 } else { GROUP_WRITES };
        let is_writable = !self.is_link && self.mode & (OTHERS_WRITE | group_writes) != 0;
        let is_guarded = self.mode & STICKY != 0 && !self.is_last;
        (is_writable && !is_guarded).then_some(Fault::Writable)
    }
}

#[cfg(test)]
mod tests;
