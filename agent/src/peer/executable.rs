//! The running image of a process: which file it is, held so that it stays that file.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, MemfdFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags, StatxTimestamp, openat2, statx,
};
use rustix::io::Errno;

use super::HeldFile;

/// What makes a file this file and no other, and unchanged: the key of every cached hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last modification, nanoseconds since 1970. Its owner may set it to anything.
    pub mtime_ns: i128,
    /// Last change of the inode, nanoseconds since 1970. The kernel sets it, from a clock that
    /// ticks every few milliseconds.
    pub ctime_ns: i128,
}

impl FileIdentity {
    /// The identity of an open file, as its file system says right now.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?.into())
    }
}

impl From<Statx> for FileIdentity {
    fn from(stat: Statx) -> Self {
        let nanoseconds = |time: StatxTimestamp| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        Self {
            dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            size: stat.stx_size,
            mtime_ns: nanoseconds(stat.stx_mtime),
            ctime_ns: nanoseconds(stat.stx_ctime),
        }
    }
}

/// The running image.
///
/// It is held by an `O_PATH` descriptor. Taking one reaches no file server, which the peer may
/// be running itself in order to keep the agent waiting, and needs no permission on the file.
#[derive(Debug)]
pub struct Executable {
    path: PathBuf,
    image: HeldFile,
}

impl Executable {
    /// What `image` and the text of the link to it say.
    pub(super) fn new(link: PathBuf, image: OwnedFd) -> io::Result<Self> {
        // The kernel adds " (deleted)" to the link of a removed file, and a file may be named
        // so. Whether the file still has a name is a fact; the text is not.
        let image = HeldFile::new(image)?;
        let path = if image.links() == 0 { without_deleted_suffix(link) } else { link };
        Ok(Self { path, image })
    }

    /// Where the image was found when it was started, or what its name became since. For
    /// people: only [`Executable::is_file_at_its_path`] says what is there in the agent's eyes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file has no name left anywhere: removed, replaced, or never had one.
    pub fn deleted(&self) -> bool {
        self.image.links() == 0
    }

    /// Whether it never had a name: a file of memory (memfd_create(2)).
    pub fn is_in_memory(&self) -> bool {
        // All of these files lie on one mount of the kernel's own, which nobody else can reach. A
        // link text that begins with "/memfd:" says less: a directory may be named so.
        self.deleted() && device_of_memory().is_ok_and(|device| device == self.identity().dev)
    }

    /// Which file it is.
    pub fn identity(&self) -> FileIdentity {
        self.image.identity()
    }

    /// The file itself.
    pub fn file(&self) -> &HeldFile {
        &self.image
    }

    /// Opens the image for reading, whatever happened to its path. May wait for a file server.
    ///
    /// # Errors
    /// The agent may not read the file.
    pub fn open(&self) -> io::Result<File> {
        let link = format!("/proc/self/fd/{}", self.image.as_fd().as_raw_fd());
        File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(link)
    }

    /// Number of the mount through which the process opened the image, as in its `mountinfo`.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn mount_id(&self) -> io::Result<u64> {
        self.image.mount_id()
    }

    /// Whether [`Executable::path`] names this very file in the agent's mount namespace, without
    /// any symbolic link on the way. May wait for a file server.
    ///
    /// # Errors
    /// The agent cannot find out.
    pub fn is_file_at_its_path(&self) -> io::Result<bool> {
        match self.compare_with_path(ResolveFlags::empty(), AtFlags::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            compared => Ok(compared?),
        }
    }

    /// Whether the kernel knows that [`Executable::path`] names this very file, as
    /// [`Executable::is_file_at_its_path`] means it, without asking any file server (openat2(2),
    /// RESOLVE_CACHED; Linux 5.12). Never waits. False says nothing: the kernel may just not
    /// remember the path.
    pub fn is_known_to_be_at_its_path(&self) -> bool {
        self.compare_with_path(ResolveFlags::CACHED, AtFlags::STATX_DONT_SYNC).unwrap_or(false)
    }

    fn compare_with_path(&self, resolve: ResolveFlags, look: AtFlags) -> Result<bool, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = openat2(CWD, &self.path, flags, Mode::empty(), resolve | ResolveFlags::NO_SYMLINKS)?;
        let found = FileIdentity::from(statx(&found, "", look | AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?);
        Ok(self.image.is_same(found))
    }
}

/// The device of the files of memory, by one of the agent's own.
fn device_of_memory() -> io::Result<u64> {
    let file = rustix::fs::memfd_create("countersign", MemfdFlags::CLOEXEC)?;
    Ok(FileIdentity::of(&file.into())?.dev)
}

fn without_deleted_suffix(link: PathBuf) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    match link.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())),
        None => link,
    }
}
