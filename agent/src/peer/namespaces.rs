//! Whose word the sender of bytes is: who may put another process's pid under its messages.
//!
//! The kernel fills in the sender itself, unless the sender names one. It may name any process
//! of its pid namespace if it has CAP_SYS_ADMIN in the user namespace that this pid namespace
//! belongs to (unix(7), SCM_CREDENTIALS; pid_namespaces(7)). Anybody may make a user namespace,
//! be root in it, and make a pid namespace that belongs to it. In there, the word of the kernel is
//! the word of that root.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, StatxFlags, statx};

use super::sys;

/// Most pid namespaces that can lie inside one another (pid_namespaces(7): 32).
const MAX_DEPTH: usize = 32;

/// Whether somebody other than the agent's own root can forge the sender of bytes of a process
/// in the pid namespace `peers`. `own` and `own_user` are the agent's namespaces.
pub(super) fn sender_can_be_forged(peers: OwnedFd, own: &OwnedFd, own_user: &OwnedFd) -> io::Result<bool> {
    let (own, own_user) = (identity(own)?, identity(own_user)?);
    let mut namespace = peers;
    for _ in 0..MAX_DEPTH {
        if identity(&namespace)? == own {
            return Ok(false);
        }
        if identity(&sys::owner_of_namespace(namespace.as_fd())?)? != own_user {
            return Ok(true);
        }
        namespace = sys::parent_of_pid_namespace(namespace.as_fd())?;
    }
    // No pid namespace of a process that the agent sees is deeper.
    Ok(true)
}

/// Device and inode of a namespace: two descriptors of one namespace have the same.
fn identity(namespace: &OwnedFd) -> io::Result<(u32, u32, u64)> {
    let stat = statx(namespace, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}
