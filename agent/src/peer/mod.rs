//! The process at the other end of a connection: held by pidfd, read under that pidfd.
//!
//! From accept on only the pidfd names the process; a pid number is for people and for
//! opening `/proc`, and is believed only while the pidfd says that the process lives.
//!
//! What older kernels lose (`docs/kernels.md` has every interface, and what was run):
//!
//! | before | loss | instead |
//! |---|---|---|
//! | 6.13 | no `PIDFD_GET_INFO` | the pid by `/proc/self/fdinfo`: slower |
//! | 6.5 | no `SO_PEERPIDFD` | `pidfd_open` on the pid of `SO_PEERCRED`: a pid that is given again between connect and accept names its new process |
//!
//! In the last row the credentials of the new process must still be those of the one that
//! connected, and nothing is given out until it proves that it is the one that asks, which it does
//! not (`countersign`).

mod countersign;
mod evidence;
mod executable;
mod glance;
mod held_file;
mod image;
mod namespaces;
mod parent;
mod proc_dir;
mod proc_files;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod sender;
mod sys;
#[cfg(feature = "weakened")]
mod weakened_image;

#[cfg(test)]
pub(crate) mod children;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::weakened::Protection;

use countersign::Countersign;
pub use countersign::{ANSWER_LIMIT, Challenge, ToSay};
pub use evidence::{
    CgroupMembership, Credentials, Evidence, Fingerprint, ProcessInstance, RememberedFingerprint, trusted_mountinfo,
};
pub use executable::{Executable, FileIdentity};
pub use glance::Glance;
pub use held_file::{HeldFile, Ownership, Patience};
pub use image::MappedFile;
pub use proc_files::Privileges;
pub use sender::{Received, receive, tell_senders};
pub use sys::give_back_free_memory;

/// The process that connected, held by its pidfd for as long as the connection lives. Costs
/// one descriptor, which is also registered with the reactor.
#[derive(Debug)]
pub struct Peer {
    pid: i32,
    connected_as: Credentials,
    pidfd: AsyncFd<OwnedFd>,
    countersign: Countersign,
    kept: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

/// Why a peer could not be identified, or is not what it was.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The kernel says that the process is gone.
    #[error("the process has exited")]
    Exited,
    /// Its first thread has exited and others have not: there is no image left to read.
    #[error("the first thread of process {pid} has exited; its other threads cannot be attested")]
    LeaderExited {
        /// The process.
        pid: i32,
    },
    /// The agent's `/proc` does not show the process.
    #[error(
        "the process is outside the agent's pid namespace; run the agent in the pid namespace of its workloads or above"
    )]
    OutsidePidNamespace,
    /// Something that was read once is different now.
    #[error("the process changed after it connected: {what}")]
    Changed {
        /// Which fact: executable, start time, credentials, tracer, privileges or cgroup.
        what: &'static str,
    },
    /// Bytes came that the process did not send.
    #[error("process {pid} speaks on the connection of another process, which is refused from then on")]
    OtherSender {
        /// Who sent them; 0 if it has no pid that the agent could see.
        pid: i32,
    },
    /// The challenge was not answered.
    #[error(
        "the process did not prove within {0:?} that it is the one that asks: it is stopped, starved, or has become          another program"
    )]
    NoCountersign(Duration),
    /// There is no random number to challenge the process with.
    #[error("the system has no random numbers for the proof of the caller")]
    NoRandomness,
    /// The agent lacks the privilege to look.
    #[error("the agent may not read {what} of process {pid}; run it as the same user, or with CAP_SYS_PTRACE")]
    NotPermitted {
        /// Which fact.
        what: &'static str,
        /// The process.
        pid: i32,
    },
    /// A file of `/proc` is not as proc(5) says.
    #[error("{what} of process {pid} in /proc is not as this agent knows it; the kernel may be too new")]
    Malformed {
        /// Which file.
        what: &'static str,
        /// The process.
        pid: i32,
    },
    /// The kernel or `/proc` did not answer; the agent's own fault.
    #[error("cannot read {what} of process {pid}: {source}")]
    Unreadable {
        /// Which fact.
        what: &'static str,
        /// The process.
        pid: i32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not say who is at the other end.
    #[error("cannot hold the process at the other end of the connection: {0}")]
    Socket(#[source] io::Error),
}

impl Peer {
    /// Takes hold of the process that connected `stream`. To be called at accept, before a
    /// byte is read, on the runtime that serves the connection.
    ///
    /// # Errors
    /// The process is gone, is outside the agent's pid namespace, or cannot be held.
    pub fn of(stream: &UnixStream) -> Result<Self, PeerError> {
        let connected = getsockopt(stream, sockopt::PeerCredentials).map_err(socket)?;
        // The kernel writes 0 for a process that has no pid in the reader's namespace.
        if connected.pid() == 0 {
            return Err(PeerError::OutsidePidNamespace);
        }
        let pidfd = pidfd(connected.pid(), getsockopt(stream, sockopt::PeerPidfd))?;
        let connected_as = Credentials { uid: connected.uid(), gid: connected.gid() };
        let peer = Self::hold(pidfd, connected_as)?;
        if peer.pid != connected.pid() {
            return Err(PeerError::Changed { what: "pid" });
        }
        Ok(peer)
    }

    fn hold(pidfd: OwnedFd, connected_as: Credentials) -> Result<Self, PeerError> {
        let pid = pid(&pidfd)?;
        let pidfd = sys::watch(pidfd).map_err(PeerError::Socket)?;
        let (countersign, kept) = (Countersign::new(), Mutex::default());
        let peer = Self { pid, connected_as, pidfd, countersign, kept };
        peer.check_alive()?;
        Ok(peer)
    }

    /// Pid in the agent's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Credentials as of `connect`.
    pub fn connected_as(&self) -> &Credentials {
        &self.connected_as
    }

    /// Ends when the process has exited. Ends at once if the kernel no longer says: a stream
    /// that cannot be ended at exit must not be kept.
    pub async fn exited(&self) {
        if Protection::Exit.is_out() {
            return std::future::pending().await;
        }
        while let Ok(mut readable) = self.pidfd.readable().await {
            if !self.is_alive() {
                return;
            }
            readable.clear_ready();
        }
    }

    /// Whether the process still lives, as of now. A process lives until its last thread has
    /// exited; waiting to be reaped is not living.
    pub fn is_alive(&self) -> bool {
        // A pidfd is readable when its process has exited (pidfd_open(2)).
        poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0)
            || Protection::Exit.is_out()
    }

    /// What the connection has to say to the process, if anything. The task of `cx` is woken when
    /// there is something new.
    pub fn to_say(&self, cx: &Context<'_>) -> Option<ToSay> {
        self.countersign.to_say(cx)
    }

    /// Takes the answer to a challenge. The connection vouches that it came in bytes of this process.
    pub fn answered(&self, answer: Challenge) {
        self.countersign.answered(answer);
    }

    /// Bytes of the process `pid` came on the connection: nothing is given out on it any more.
    pub fn spoken_for_by(&self, pid: i32) {
        self.countersign.other_sender(pid);
    }

    /// Keeps something about this connection until its next request; what was kept before goes. It must not hold the
    /// peer itself, or neither ever ends.
    pub fn keep(&self, what: Arc<dyn Any + Send + Sync>) {
        *self.kept_place() = Some(what);
    }

    /// What was kept, if it is of this type.
    pub fn kept<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.kept_place().clone()?.downcast().ok()
    }

    fn kept_place(&self) -> MutexGuard<'_, Option<Arc<dyn Any + Send + Sync>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the evidence: every fact that selectors are made of, under the live pidfd. Reads
    /// the kernel's own files only, so it may be called on a runtime.
    ///
    /// # Errors
    /// The process is gone, is not what it was at connect, or a fact cannot be read.
    pub fn evidence(self: &Arc<Self>) -> Result<Evidence, PeerError> {
        Evidence::read(self)
    }

    /// Its cgroups as of now, read under the live pidfd.
    ///
    /// # Errors
    /// The process is gone, or the file cannot be read.
    pub fn cgroups(&self) -> Result<Vec<CgroupMembership>, PeerError> {
        proc_dir::ProcDir::open(self)?.cgroups()
    }

    fn check_alive(&self) -> Result<(), PeerError> {
        if self.is_alive() { Ok(()) } else { Err(PeerError::Exited) }
    }

    /// What a failure to read `what` means: most often that the process exited meanwhile.
    fn failure(&self, what: &'static str, source: io::Error) -> PeerError {
        match source.kind() {
            _ if !self.is_alive() => PeerError::Exited,
            io::ErrorKind::PermissionDenied => PeerError::NotPermitted { what, pid: self.pid },
            _ => PeerError::Unreadable { what, pid: self.pid, source },
        }
    }
}

/// The pidfd of a peer: the kernel's `answer`, or by its pid where the kernel has none to give.
fn pidfd(pid: i32, answer: Result<OwnedFd, Errno>) -> Result<OwnedFd, PeerError> {
    match answer {
        Ok(pidfd) => Ok(pidfd),
        Err(Errno::ENOPROTOOPT) => pidfd_open(pid),
        // Before Linux 6.16 there is no pidfd of a process that has been reaped.
        Err(Errno::ESRCH | Errno::EINVAL) => Err(PeerError::Exited),
        Err(errno) => Err(socket(errno)),
    }
}

fn pidfd_open(pid: i32) -> Result<OwnedFd, PeerError> {
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags};
    let pid = Pid::from_raw(pid).ok_or(PeerError::OutsidePidNamespace)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| match errno {
        // Not a process's any more, or a thread's of another by now; which errno it is then has changed.
        Errno::SRCH | Errno::INVAL | Errno::NOENT => PeerError::Exited,
        errno => PeerError::Socket(errno.into()),
    })
}

/// The pid behind a pidfd, in the agent's pid namespace.
fn pid(pidfd: &OwnedFd) -> Result<i32, PeerError> {
    match sys::info_of(pidfd.as_fd()) {
        Ok(info) => Ok(info.pid),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(PeerError::Exited),
        Err(error) if error.raw_os_error() == Some(libc::EREMOTE) => Err(PeerError::OutsidePidNamespace),
        Err(_) => pid_by_fdinfo(pidfd),
    }
}

fn pid_by_fdinfo(pidfd: &OwnedFd) -> Result<i32, PeerError> {
    match proc_dir::fdinfo(pidfd, "Pid").map_err(PeerError::Socket)? {
        0 => Err(PeerError::OutsidePidNamespace),
        pid if pid > 0 => Ok(pid),
        _ => Err(PeerError::Exited),
    }
}

fn socket(errno: Errno) -> PeerError {
    PeerError::Socket(errno.into())
}
