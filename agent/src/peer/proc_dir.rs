//! The directory `/proc/PID` of a peer, opened so that it is certainly the peer's.

#[cfg(not(feature = "weakened"))]
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::{CgroupMembership, FileIdentity, Peer, PeerError, namespaces, proc_files};

/// The longest file of `/proc/PID` that is read, in bytes: `status` with some 6000
/// supplementary groups, `cgroup` with sixteen paths of the greatest length.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The longest `maps` that is read, in bytes: 65 530 mappings, which is how many a process may have
/// unless the machine is told otherwise (proc(5), `max_map_count`), with paths of common length.
const MAX_MAPS_BYTES: u64 = 16 * 1024 * 1024;

/// The longest `mountinfo` that is read, in bytes: some 50 000 mounts.
const MAX_MOUNTINFO_BYTES: u64 = 8 * 1024 * 1024;

/// What is read at a time, in bytes: most files of `/proc/PID` are shorter, and come whole.
const READ_BYTES: usize = 4096;

/// `/proc/PID` of a living peer.
pub(super) struct ProcDir<'a> {
    peer: &'a Peer,
    directory: OwnedFd,
}

impl<'a> ProcDir<'a> {
    /// Opens the directory, *then* asks the pidfd whether the process lives.
    ///
    /// A pid is given to another process only after its own has exited. The pidfd has held
    /// this process since before the directory was opened, so if it lives afterwards, its pid
    /// was nobody else's when the path was looked up, and the directory is its own. The other
    /// order would leave a gap between the question and the lookup. Once open, the directory
    /// stays bound to this process: reads fail after its exit, and never tell of another.
    pub(super) fn open(peer: &'a Peer) -> Result<Self, PeerError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let directory = open(format!("/proc/{}", peer.pid).as_str(), flags, Mode::empty())
            .map_err(|errno| peer.failure("directory in /proc", errno.into()))?;
        peer.check_alive()?;
        Ok(Self { peer, directory })
    }

    pub(super) fn stat(&self) -> Result<proc_files::Stat, PeerError> {
        proc_files::stat(&self.read("stat", MAX_FILE_BYTES)?).ok_or(self.malformed("stat"))
    }

    pub(super) fn status(&self) -> Result<proc_files::Status, PeerError> {
        let status = proc_files::status(&self.read("status", MAX_FILE_BYTES)?);
        status.filter(|status| status.tgid == self.peer.pid).ok_or(self.malformed("status"))
    }

    pub(super) fn cgroups(&self) -> Result<Vec<CgroupMembership>, PeerError> {
        self.cgroups_in(&self.cgroup_file()?)
    }

    /// The file as it is: cheaper to keep and to compare than what it says.
    pub(super) fn cgroup_file(&self) -> Result<Box<[u8]>, PeerError> {
        // A copy of its own length: what it was read into is a page.
        self.read("cgroup", MAX_FILE_BYTES).map(|file| file.as_slice().into())
    }

    /// What the file says.
    pub(super) fn cgroups_in(&self, file: &[u8]) -> Result<Vec<CgroupMembership>, PeerError> {
        proc_files::cgroup(file).ok_or(self.malformed("cgroup"))
    }

    pub(super) fn mountinfo(&self) -> Result<Vec<u8>, PeerError> {
        self.read("mountinfo", MAX_MOUNTINFO_BYTES)
    }

    /// The files that are mapped as code. Waits while the process changes its mappings.
    pub(super) fn code_mappings(&self) -> Result<Vec<proc_files::CodeMapping>, PeerError> {
        proc_files::code_mappings(&self.read("maps", MAX_MAPS_BYTES)?).ok_or(self.malformed("maps"))
    }

    /// Holds the very file of a mapping. Takes `CAP_CHECKPOINT_RESTORE` (Linux 5.9) or `CAP_SYS_ADMIN`.
    pub(super) fn hold_mapped(&self, (first, end): (u64, u64)) -> io::Result<OwnedFd> {
        let name = format!("map_files/{first:x}-{end:x}");
        Ok(openat(&self.directory, name.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    /// The root directory of the process.
    pub(super) fn root(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(openat(&self.directory, "root", flags, Mode::empty())?)
    }

    /// Device and inode of the user namespace.
    pub(super) fn user_namespace(&self) -> Result<(u64, u64), PeerError> {
        let identity = statx(&self.directory, "ns/user", AtFlags::empty(), StatxFlags::BASIC_STATS);
        let identity = identity.map(FileIdentity::from).map_err(|errno| self.peer.failure("ns/user", errno.into()))?;
        Ok((identity.dev, identity.ino))
    }

    /// Pid of the tracer of any thread but the first; those that end meanwhile are passed over.
    pub(super) fn tracer_of_threads(&self) -> Result<Option<i32>, PeerError> {
        let failure = |errno: Errno| self.peer.failure("task", errno.into());
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let tasks = Dir::openat(&self.directory, "task", flags, Mode::empty()).map_err(failure)?;
        for thread in tasks {
            let thread = thread.map_err(failure)?;
            let Ok(thread) = thread.file_name().to_str().unwrap_or_default().parse::<i32>() else { continue };
            if thread == self.peer.pid {
                continue;
            }
            let status = match self.read_file(&format!("task/{thread}/status"), MAX_FILE_BYTES) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => continue,
                read => read.map_err(|source| self.peer.failure("status of a thread", source))?,
            };
            match proc_files::tracer(&status).ok_or(self.malformed("status of a thread"))? {
                0 => {}
                tracer => return Ok(Some(tracer)),
            }
        }
        Ok(None)
    }

    /// Where the link to the running image points, as the kernel writes it.
    pub(super) fn executable_link(&self) -> Result<PathBuf, PeerError> {
        let link = readlinkat(&self.directory, &*self.image());
        link.map(PathBuf::from).map_err(|errno| self.peer.failure("exe", errno.into()))
    }

    /// Which file the running image is, without asking a file server.
    pub(super) fn executable_identity(&self) -> Result<FileIdentity, PeerError> {
        identity_in(&self.directory, &self.image()).map_err(|source| self.peer.failure("exe", source))
    }

    /// `pagemap`, opened and not read: it stays with the memory that the process has now.
    pub(super) fn memory(&self) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&self.directory, "pagemap", flags, Mode::empty())?.into())
    }

    /// The directory alone.
    pub(super) fn into_directory(self) -> OwnedFd {
        self.directory
    }

    /// Holds the running image without opening it.
    pub(super) fn hold_executable(&self) -> Result<OwnedFd, PeerError> {
        openat(&self.directory, &*self.image(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| self.peer.failure("exe", errno.into()))
    }

    /// Whether the sender of the process's bytes can be forged; see `namespaces`.
    pub(super) fn sender_can_be_forged(&self) -> Result<bool, PeerError> {
        namespaces::sender_can_be_forged(&self.directory).map_err(|source| self.peer.failure("pid namespace", source))
    }

    /// The link to the running image.
    #[cfg(not(feature = "weakened"))]
    fn image(&self) -> Cow<'static, str> {
        Cow::Borrowed("exe")
    }

    fn read(&self, name: &'static str, limit: u64) -> Result<Vec<u8>, PeerError> {
        self.read_file(name, limit).map_err(|source| self.peer.failure(name, source))
    }

    fn read_file(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::empty())?;
        read_bounded(File::from(file), limit)
    }

    #[cfg(feature = "weakened")]
    pub(super) fn pid(&self) -> i32 {
        self.peer.pid
    }

    fn malformed(&self, what: &'static str) -> PeerError {
        PeerError::Malformed { what, pid: self.peer.pid }
    }
}

/// Which file the running image is, of the process whose directory in `/proc` this is; without asking a file server.
pub(super) fn executable_in(directory: &OwnedFd) -> io::Result<FileIdentity> {
    identity_in(directory, "exe")
}

fn identity_in(directory: &OwnedFd, image: &str) -> io::Result<FileIdentity> {
    Ok(statx(directory, image, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)?.into())
}

/// Device and inode of the agent's own user namespace.
pub(super) fn own_user_namespace() -> io::Result<(u64, u64)> {
    let identity = FileIdentity::from(statx(CWD, "/proc/self/ns/user", AtFlags::empty(), StatxFlags::BASIC_STATS)?);
    Ok((identity.dev, identity.ino))
}

/// The mounts that the agent sees (`self`), or those of the first process of its pid namespace (`1`).
pub(super) fn mountinfo_of(process: &str) -> io::Result<Vec<u8>> {
    read_bounded(File::open(format!("/proc/{process}/mountinfo"))?, MAX_MOUNTINFO_BYTES)
}

/// A number that the kernel tells about a descriptor of the agent's own.
pub(super) fn fdinfo<N: std::str::FromStr>(descriptor: impl AsFd, name: &str) -> io::Result<N> {
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_fd().as_raw_fd());
    let bytes = read_bounded(File::open(path)?, MAX_FILE_BYTES)?;
    proc_files::fdinfo(&bytes, name).ok_or(io::ErrorKind::InvalidData.into())
}

/// The whole file; an error if it is longer than `limit` bytes.
fn read_bounded(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(READ_BYTES);
    let length = file.take(limit + 1).read_to_end(&mut bytes)?;
    if length as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}
