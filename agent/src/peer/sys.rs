//! System calls that no crate wraps safely: the only unsafe code of the house.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// First version of `struct pidfd_info` (linux/pidfd.h), 64 bytes; every later kernel accepts it.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    pid: u32,
    tgid: u32,
    parent_pid: u32,
    real_uid: u32,
    real_gid: u32,
    effective_uid: u32,
    effective_gid: u32,
    saved_uid: u32,
    saved_gid: u32,
    filesystem_uid: u32,
    filesystem_gid: u32,
    exit_code: i32,
}

/// `PIDFD_INFO_PID`, `PIDFD_INFO_CREDS` and `PIDFD_INFO_CGROUPID`: these fields are asked for, and are filled in.
const INFO_PID: u64 = 1;
const INFO_CREDS: u64 = 1 << 1;
const INFO_CGROUP_ID: u64 = 1 << 2;

/// `PIDFD_GET_INFO`, `_IOWR(0xFF, 11, struct pidfd_info)`; the size is part of the number.
const GET_INFO: libc::Ioctl = 0xC040_FF0B;

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// What the kernel says about a process in one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Info {
    /// Pid in the agent's pid namespace.
    pub(super) pid: i32,
    /// Real, effective, saved and file system user id; then the same of the group.
    pub(super) ids: [u32; 8],
    /// Of its cgroup v2.
    pub(super) cgroup_id: u64,
}

/// Pid, ids and cgroup of the process that a pidfd holds (Linux 6.13).
///
/// # Errors
/// `ESRCH`: the process is gone. `EREMOTE`: it is outside the agent's pid namespace. Anything
/// else: this kernel does not answer the question.
pub(super) fn info_of(pidfd: BorrowedFd<'_>) -> io::Result<Info> {
    const WANTED: u64 = INFO_PID | INFO_CREDS | INFO_CGROUP_ID;
    let mut info = PidfdInfo { mask: WANTED, ..PidfdInfo::default() };
    // SAFETY: the descriptor is open for the length of the borrow, and the kernel writes at
    // most the 64 bytes that the request number states into a live struct of that size and
    // layout, all of whose fields are integers.
    let answer = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO, &raw mut info) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    if info.mask & WANTED != WANTED {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Info {
        pid: i32::try_from(info.tgid).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?,
        ids: [
            info.real_uid,
            info.effective_uid,
            info.saved_uid,
            info.filesystem_uid,
            info.real_gid,
            info.effective_gid,
            info.saved_gid,
            info.filesystem_gid,
        ],
        cgroup_id: info.cgroup_id,
    })
}

/// `NS_GET_USERNS`, `_IO(0xb7, 1)` (linux/nsfs.h).
const GET_OWNER: libc::Ioctl = 0xB701;

/// `NS_GET_PARENT`, `_IO(0xb7, 2)`.
const GET_PARENT: libc::Ioctl = 0xB702;

/// The user namespace that a namespace belongs to (ioctl_ns(2)).
///
/// # Errors
/// `EPERM`: it is outside the agent's own user namespace.
pub(super) fn owner_of_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    related(namespace, GET_OWNER)
}

/// The pid namespace around a pid namespace (ioctl_ns(2)).
///
/// # Errors
/// `EPERM`: it is outside the agent's own pid namespace.
pub(super) fn parent_of_pid_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    related(namespace, GET_PARENT)
}

fn related(namespace: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open for the length of the borrow, and neither request reads or
    // writes memory of this process.
    let answer = unsafe { libc::ioctl(namespace.as_raw_fd(), request) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for the caller, who alone has it.
    Ok(unsafe { OwnedFd::from_raw_fd(answer) })
}

/// Registers a pidfd with the reactor, so that the exit of its process can be awaited.
///
/// # Errors
/// Not called on a runtime, or the kernel refuses one more registration.
pub(super) fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // Registering panics without a reactor, which must not depend on who calls.
    tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
    // SAFETY: an OwnedFd is an open descriptor, says the same number for its whole life, and
    // is moved into the AsyncFd, which the one caller never unwraps or reaches into mutably.
    // So the descriptor stays open for as long as it is registered.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}

/// Gives memory that this process has freed back to the kernel (malloc_trim(3)). Threads that
/// allocate wait meanwhile. An allocator other than that of the GNU C library is left alone.
pub fn give_back_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and locks the allocator's own state as malloc(3) does. Its answer
    // says whether anything was given back, on which nothing depends.
    unsafe {
        libc::malloc_trim(0)
    };
}
