//! What is known about the image beside which file it is: the way to it, what else is mapped as
//! code, and who traces it. Looks that may wait; each says so.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, makedev, openat2};
use rustix::io::Errno;

use super::held_file::{self, HeldFile, Patience};
use super::proc_dir::{self, ProcDir};
use super::proc_files::CodeMapping;
use super::{Evidence, PeerError};

/// A file that is mapped as code.
#[derive(Debug)]
pub struct MappedFile {
    /// Where it is or was, as the kernel writes it: for people.
    pub path: PathBuf,
    /// The file; none if the agent does not find it.
    pub file: Option<HeldFile>,
}

impl Evidence {
    /// Goes from the root directory to the image, and has `look` see each directory on the way;
    /// what it says first is kept. The way is the agent's own, or else the one in the mount
    /// namespace of the process. Nothing if neither leads to the image.
    ///
    /// # Errors
    /// The agent cannot find out, or would have to wait and has no patience.
    pub fn way_to_image<T>(
        &self,
        patience: Patience,
        mut look: impl FnMut(&HeldFile, &Path) -> io::Result<Option<T>>,
    ) -> io::Result<Option<Option<T>>> {
        let (path, file) = (self.executable().path(), self.executable().identity());
        let found = held_file::way_to(file, path, own_root()?, patience, &mut look)?;
        if found.is_some() || patience == Patience::None {
            return found.map(Some).ok_or(io::ErrorKind::WouldBlock.into());
        }
        let root = self.directory().map_err(io::Error::other)?.root()?;
        held_file::way_to(file, path, root, patience, &mut look)
    }

    /// The files that are mapped as code, in the order of their addresses, the image among them.
    /// Waits while the process changes its mappings.
    ///
    /// # Errors
    /// The process is gone, its mappings cannot be read, or they change meanwhile.
    pub fn mapped_code(&self) -> Result<Vec<MappedFile>, PeerError> {
        let directory = self.directory()?;
        let unreadable = |source| self.fingerprint().peer().failure("map_files", source);
        let mut files = Vec::new();
        for mapping in directory.code_mappings()? {
            let file = match directory.hold_mapped(mapping.range) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => by_path(&directory, &mapping),
                held => Some(held.and_then(HeldFile::new).map_err(unreadable)?),
            };
            files.push(MappedFile { path: OsStr::from_bytes(&mapping.path).into(), file });
        }
        Ok(files)
    }

    /// Pid of the tracer of any thread. The kernel keeps one for each thread, and whoever
    /// traces one has all of the process.
    ///
    /// # Errors
    /// The process is gone, or cannot be read.
    pub fn tracer_of_any_thread(&self) -> Result<Option<i32>, PeerError> {
        match self.tracer() {
            None if self.threads() > 1 => self.directory()?.tracer_of_threads(),
            known => Ok(known),
        }
    }

    /// Whether the process is in the agent's user namespace, in which its privileges are the machine's.
    ///
    /// # Errors
    /// The process is gone, or the agent may not look.
    pub fn is_in_agents_user_namespace(&self) -> Result<bool, PeerError> {
        let own = proc_dir::own_user_namespace();
        let own = own.map_err(|source| self.fingerprint().peer().failure("ns/user", source))?;
        Ok(self.directory()?.user_namespace()? == own)
    }

    fn directory(&self) -> Result<ProcDir<'_>, PeerError> {
        ProcDir::open(self.fingerprint().peer())
    }
}

fn own_root() -> Result<OwnedFd, Errno> {
    openat2(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::empty())
}

/// The file of a mapping by its path, for an agent that may not ask for the file itself: if
/// device and inode are those of the mapping. Where file systems give the two another number
/// (btrfs, overlayfs) it is not found.
fn by_path(directory: &ProcDir<'_>, mapping: &CodeMapping) -> Option<HeldFile> {
    let path = Path::new(OsStr::from_bytes(&mapping.path)).strip_prefix("/").ok()?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let device = makedev(mapping.device.0, mapping.device.1);
    let is_mapped =
        |found: HeldFile| ((found.identity().dev, found.identity().ino) == (device, mapping.inode)).then_some(found);
    let at = |root: OwnedFd| {
        let found = openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()?;
        is_mapped(HeldFile::new(found).ok()?)
    };
    // The image has no path if it was removed, and is known all the same.
    let image = || directory.hold_executable().ok().and_then(|image| is_mapped(HeldFile::new(image).ok()?));
    directory.root().ok().and_then(at).or_else(|| own_root().ok().and_then(at)).or_else(image)
}
