//! A file that is held without being open: what its inode says, and the way to it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};
use rustix::io::Errno;

use super::{FileIdentity, proc_dir};

/// Magic number of FUSE (linux/magic.h).
const FUSE: u64 = 0x6573_5546;

/// What the inode of a file says about who may write it. On FUSE it is whatever the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// User id of the owner.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Mode, with the type of the file (inode(7)).
    pub mode: u16,
}

/// A file that is held by an `O_PATH` descriptor: neither opened nor kept from being removed.
#[derive(Debug)]
pub struct HeldFile {
    descriptor: OwnedFd,
    identity: FileIdentity,
    ownership: Ownership,
    links: u32,
}

/// Whether a look may wait for a file server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// What the kernel remembers has to do (openat2(2), `RESOLVE_CACHED`; Linux 5.12). Where it
    /// does not, the look fails with [`io::ErrorKind::WouldBlock`], and before 5.12 otherwise.
    None,
    /// As long as it takes.
    Endless,
}

impl HeldFile {
    /// Looks at the inode, as far as the kernel knows it without asking a file server.
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let stat = statx(&descriptor, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)?;
        let ownership = Ownership { uid: stat.stx_uid, gid: stat.stx_gid, mode: stat.stx_mode };
        Ok(Self { descriptor, ownership, links: stat.stx_nlink, identity: stat.into() })
    }

    /// Which file it is.
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Who may write it.
    pub fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// Under how many names it is found.
    pub(super) fn links(&self) -> u32 {
        self.links
    }

    /// Whether it is the same file as another, changed or not.
    pub fn is_same(&self, other: FileIdentity) -> bool {
        (self.identity.dev, self.identity.ino) == (other.dev, other.ino)
    }

    /// Whether it has an access control list beside its mode (acl(5)). May wait for a file server.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn has_acl(&self) -> io::Result<bool> {
        // An O_PATH descriptor has no attributes of its own; the link to it leads to those of the file.
        let link = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        match rustix::fs::getxattr_query(link.as_str(), "system.posix_acl_access") {
            Ok(bytes) => Ok(bytes > 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether a block device is behind it. Users mount no such file system, so its server is the kernel.
    pub fn is_on_block_device(&self) -> bool {
        rustix::fs::major(self.identity.dev) != 0
    }

    /// Whether it lies on FUSE, whose server a user may be. May wait for that server.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn is_on_fuse(&self) -> io::Result<bool> {
        Ok(u64::try_from(rustix::fs::fstatfs(&self.descriptor)?.f_type) == Ok(FUSE))
    }

    /// Number of the mount through which it was found, as in `mountinfo`.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn mount_id(&self) -> io::Result<u64> {
        proc_dir::fdinfo(&self.descriptor, "mnt_id")
    }
}

#[cfg(test)]
impl HeldFile {
    /// The file at `path`.
    pub(crate) fn at(path: &Path) -> Self {
        let found = openat2(rustix::fs::CWD, path, OFlags::PATH, Mode::empty(), ResolveFlags::empty()).unwrap();
        Self::new(found).unwrap()
    }
}

impl AsFd for HeldFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Goes from the directory `root` to the file at the absolute `path`, without any symbolic
/// link. `look` sees each directory on the way, its path, and the first thing that it says about
/// one is kept. Nothing if the way leads to another file than `file`, or to none.
pub(super) fn way_to<T>(
    file: FileIdentity,
    path: &Path,
    root: OwnedFd,
    patience: Patience,
    mut look: impl FnMut(&HeldFile, &Path) -> io::Result<Option<T>>,
) -> io::Result<Option<Option<T>>> {
    let mut here = HeldFile::new(root)?;
    let mut so_far = Path::new("/").to_path_buf();
    let mut said = look(&here, &so_far)?;
    let mut names = path.components().skip_while(|component| *component == Component::RootDir).peekable();
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else { return Ok(None) };
        let kind = if names.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
        let Some(next) = enter(&here, name, kind, patience)? else { return Ok(None) };
        here = HeldFile::new(next)?;
        so_far.push(name);
        if names.peek().is_some() && said.is_none() {
            said = look(&here, &so_far)?;
        }
    }
    Ok(here.is_same(file).then_some(said))
}

fn enter(directory: &HeldFile, name: &OsStr, kind: OFlags, patience: Patience) -> io::Result<Option<OwnedFd>> {
    let cached = if patience == Patience::None { ResolveFlags::CACHED } else { ResolveFlags::empty() };
    let flags = kind | OFlags::PATH | OFlags::CLOEXEC;
    match openat2(directory, name, flags, Mode::empty(), cached | ResolveFlags::NO_SYMLINKS) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
