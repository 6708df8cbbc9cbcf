//! Whose word the sender of bytes is: who may put another process's pid under its messages.
//!
//! The kernel fills in the sender itself, unless the sender names one. It may name any process
//! of its pid namespace if it has CAP_SYS_ADMIN in the user namespace that this pid namespace
//! belongs to (unix(7), SCM_CREDENTIALS; pid_namespaces(7)). Anybody may make a user namespace,
//! be root in it, and make a pid namespace that belongs to it. In there, the word of the kernel is
//! the word of that root.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};

use super::sys;

/// Most pid namespaces that can lie inside one another (pid_namespaces(7): 32).
const MAX_DEPTH: usize = 32;

/// Device and inode of a namespace: two descriptors of one namespace have the same.
type Identity = (u32, u32, u64);

/// Whether somebody other than the agent's own root can forge the sender of bytes of the process whose directory
/// in `/proc` this is.
pub(super) fn sender_can_be_forged(process: &OwnedFd) -> io::Result<bool> {
    // Most processes are in the agent's own, which takes no descriptor to tell.
    let own = at(CWD, "/proc/self/ns/pid")?;
    if at(process.as_fd(), "ns/pid")? == own {
        return Ok(false);
    }
    let own_user = at(CWD, "/proc/self/ns/user")?;
    let mut namespace = openat(process, "ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
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

fn identity(namespace: &OwnedFd) -> io::Result<Identity> {
    looked_at(namespace.as_fd(), "", AtFlags::EMPTY_PATH)
}

fn at(directory: BorrowedFd<'_>, path: &str) -> io::Result<Identity> {
    looked_at(directory, path, AtFlags::empty())
}

fn looked_at(directory: BorrowedFd<'_>, path: &str, flags: AtFlags) -> io::Result<Identity> {
    let stat = statx(directory, path, flags | AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::Peer;
    use super::super::children::Child;

    fn forged_in(words: &[&str]) -> Option<bool> {
        let possible = Command::new("unshare").args(words).arg("true").output().unwrap().status.success();
        if !possible {
            return None;
        }
        let child = Child::start(Command::new("unshare").args(words).args(["sleep", "600"]));
        let children = child.proc(&format!("task/{}/children", child.pid()));
        let mut pid = child.pid();
        child.until(|| {
            let inner = std::fs::read_to_string(&children).unwrap_or_default();
            pid = inner.trim().parse().unwrap_or_default();
            let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
            exe.is_ok_and(|exe| exe.ends_with("sleep"))
        });
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let forged = Peer::of_process(pid, uid, gid).evidence().unwrap().sender_can_be_forged();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        Some(forged.unwrap())
    }

    #[test]
    fn nobody_forges_beside_the_agent() {
        assert!(!Peer::of_this_process().evidence().unwrap().sender_can_be_forged().unwrap());
    }

    #[test]
    fn only_a_user_namespace_of_ones_own_lets_one_forge() {
        if let Some(forged) = forged_in(&["--pid", "--fork", "--kill-child"]) {
            assert!(!forged, "a container of root");
        }
        let own = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
        if let Some(forged) = forged_in(&own) {
            assert!(forged, "a container of a user");
        }
    }
}
