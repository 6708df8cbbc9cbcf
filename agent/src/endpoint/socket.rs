//! A listening Unix socket that is what it should be from its first moment, and gone after.
//!
//! - Its mode is set before it has a name, so it is never wider than it will be. Where the
//!   umask took bits away they are added before anybody can connect.
//! - One process serves a path: a lock beside the socket is held for as long as it listens,
//!   and the kernel lets go of it however the process ends.
//! - A socket that a crash left behind is replaced; one that anybody serves never is.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{Mode, fchmod};
use tokio::net::UnixListener;

use super::directory;
use crate::peer;
use crate::trusted_path::Fault;

/// Longest path of a socket in bytes: `sun_path` without the final zero (unix(7)).
pub const MAX_PATH: usize = 107;

/// Where to listen, and who may connect.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Absolute path of the socket, at most [`MAX_PATH`] bytes.
    pub path: PathBuf,
    /// Mode of the socket; connecting needs the right to write (unix(7)).
    pub mode: u32,
    /// Mode of its directory, if that has to be made.
    pub directory_mode: u32,
}

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path has no room in a socket address, or does not say which directory is meant.
    #[error("the socket path {path} {fault}")]
    Path {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Somebody else could take the socket's place.
    #[error("the directory {path} {fault}")]
    Directory {
        /// On the way to the socket.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Something else has the name; it is not for the agent to remove.
    #[error("{path} exists and is not a socket of this user; remove it, or configure another path")]
    Foreign {
        /// As configured.
        path: PathBuf,
    },
    /// Another process serves the path.
    #[error("another process already serves {path}; stop it, or configure another path")]
    InUse {
        /// As configured.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A socket that listens. Dropping it takes its name away, if the name is still its own.
#[derive(Debug)]
pub struct Listener {
    // Dropped first: the name goes before the socket closes and the lock opens.
    name: SocketName,
    socket: UnixListener,
    _lock: File,
}

impl Listener {
    /// Binds and listens. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`SocketError`]; nothing is left behind.
    pub fn bind(options: &SocketOptions) -> Result<Self, SocketError> {
        let path = &options.path;
        let directory = directory_of(path)?;
        directory::make(directory, options.directory_mode)?;
        directory::check(directory)?;
        let lock = lock_beside(path)?;
        remove_stale(path)?;
        let failed = |doing| move |source| SocketError::Io { doing, path: path.clone(), source };

        let mode = options.mode & 0o777;
        let socket = bound(path, mode).map_err(failed("bind"))?;
        let name = SocketName::of(path).map_err(failed("look at"))?;
        name.widen_to(mode).map_err(failed("set the mode of"))?;
        // Before anybody can connect, so that no byte comes without its sender.
        peer::tell_senders(&socket).map_err(failed("have the kernel tell the senders on"))?;
        listen(&socket, Backlog::MAXCONN).map_err(|e| failed("listen on")(e.into()))?;
        let socket = UnixListener::from_std(net::UnixListener::from(socket)).map_err(failed("listen on"))?;
        Ok(Self { name, socket, _lock: lock })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.name.path
    }

    pub(super) fn socket(&self) -> &UnixListener {
        &self.socket
    }
}

fn directory_of(path: &Path) -> Result<&Path, SocketError> {
    let fault = |fault| SocketError::Path { path: path.to_owned(), fault };
    if !path.is_absolute() {
        return Err(fault("is not absolute"));
    }
    if path.as_os_str().len() > MAX_PATH {
        return Err(fault(
            "is longer than 107 bytes, the most that a socket address has room for; choose a shorter one",
        ));
    }
    if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(fault("names no file"));
    }
    path.parent().ok_or_else(|| fault("names no file"))
}

/// Only this user can open the lock, so nobody else can hold it against the agent.
fn lock_beside(path: &Path) -> Result<File, SocketError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let failed = |source| SocketError::Io { doing: "lock", path: lock_path.clone(), source };
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&lock_path)
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Removes a socket that nobody serves. The caller holds the lock.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |doing| move |source| SocketError::Io { doing, path: path.to_owned(), source };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
    };
    let is_ours = found.uid() == nix::unistd::geteuid().as_raw();
    if !found.file_type().is_socket() || !is_ours {
        return Err(SocketError::Foreign { path: path.to_owned() });
    }
    let probe = new_socket().map_err(failed("make a socket for"))?;
    match address(path).and_then(|address| connect(probe.as_raw_fd(), &address)) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).map_err(failed("remove the stale socket")),
        // Somebody listens, has a full queue, or serves another kind of socket.
        Ok(()) | Err(Errno::EAGAIN | Errno::EPROTOTYPE) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) => Err(failed("connect to")(error.into())),
    }
}

/// A socket with this name, which has never had more than `mode`: Linux gives the name the
/// mode of the unbound socket, less the umask.
fn bound(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let socket = new_socket()?;
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    bind(socket.as_raw_fd(), &address(path)?)?;
    Ok(socket)
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, SockType::Stream, flags, None)?)
}

fn address(path: &Path) -> nix::Result<UnixAddr> {
    UnixAddr::new(path)
}

/// A name in the file system that is this socket and no other.
#[derive(Debug)]
struct SocketName {
    path: PathBuf,
    /// Refers to the inode itself, whatever happens to the name; keeps its number from reuse.
    inode: File,
}

impl SocketName {
    fn of(path: &Path) -> io::Result<Self> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let inode = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if !inode.metadata()?.file_type().is_socket() {
            return Err(io::Error::other("it was replaced while it was being bound"));
        }
        Ok(Self { path: path.to_owned(), inode })
    }

    /// Gives back what the umask took (unix(7): bind applies it). Nobody can connect before
    /// `listen`, so nobody meets the narrow mode.
    fn widen_to(&self, mode: u32) -> io::Result<()> {
        if self.inode.metadata()?.mode() & 0o777 == mode {
            return Ok(());
        }
        // Through the descriptor: a path could have been pointed elsewhere meanwhile.
        let inode = format!("/proc/self/fd/{}", self.inode.as_raw_fd());
        fs::set_permissions(inode, Permissions::from_mode(mode))
    }

    fn is_still_ours(&self) -> io::Result<bool> {
        let (ours, found) = (self.inode.metadata()?, fs::symlink_metadata(&self.path)?);
        Ok((ours.dev(), ours.ino()) == (found.dev(), found.ino()))
    }
}

impl Drop for SocketName {
    fn drop(&mut self) {
        // A name that is gone or another's is no concern of ours any more.
        if matches!(self.is_still_ours(), Ok(true)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
