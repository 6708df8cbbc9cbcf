//! A glance at a process between two readings of all facts: what costs next to nothing to ask.
//!
//! Reading every fact takes longer than answering a request that needs nothing signed. A glance asks
//! whether the process still runs the same program out of the same file under the same ids. It
//! leaves out supplementary groups, privileges, tracer and the cgroups of v1, which are read again
//! soon after; and a process that gives another instance of the same file its place while it lends its
//! memory to somebody, who is told by the place of its stack at the next reading.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::uio::pread;

use super::proc_dir::{self, ProcDir};
use super::proc_files::Status;
use super::{FileIdentity, Peer, sys};
use crate::weakened::Protection;

/// What is looked at. Costs two descriptors.
#[derive(Debug)]
pub struct Glance {
    directory: OwnedFd,
    memory: File,
    cgroup_id: u64,
}

impl Glance {
    /// Takes hold of what is looked at; none where the kernel does not tell (before Linux 6.13), or not
    /// this agent. Facts that are read afterwards are those of what is held.
    pub(super) fn take(peer: &Peer) -> Option<Self> {
        if Protection::Leader.is_out() {
            return None;
        }
        let cgroup_id = sys::info_of(peer.pidfd.as_fd()).ok()?.cgroup_id;
        let directory = ProcDir::open(peer).ok()?;
        let memory = directory.memory().ok()?;
        let glance = Self { directory: directory.into_directory(), memory, cgroup_id };
        glance.has_same_memory().then_some(glance)
    }

    /// Whether nothing that can be seen at a glance is different. If something is, or cannot be seen, a reading says what.
    pub(super) fn shows(&self, peer: &Peer, status: &Status, executable: &FileIdentity) -> bool {
        let ids = |info: sys::Info| {
            let (uids, gids) = info.ids.split_at(status.uids.len());
            uids == status.uids && gids == status.gids && info.cgroup_id == self.cgroup_id
        };
        self.has_same_memory()
            && proc_dir::executable_in(&self.directory).is_ok_and(|now| now == *executable)
            && sys::info_of(peer.pidfd.as_fd()).is_ok_and(ids)
    }

    /// Whether the process still has the memory that it had when this was taken: it has neither exited nor become
    /// another program, be it of the same file.
    ///
    /// An open `pagemap` stays with the memory that it was opened on. The kernel asks first whether that memory is
    /// in use, and says that there is nothing to read if it is not; only then it refuses to read a part of an entry.
    fn has_same_memory(&self) -> bool {
        pread(&self.memory, &mut [0], 0) == Err(Errno::EINVAL)
    }
}
