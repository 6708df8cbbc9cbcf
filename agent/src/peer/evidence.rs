//! What the kernel says about a process, and whether it still says so.

use std::io;
use std::sync::{Arc, Weak};

use super::glance::Glance;
use super::proc_dir::{self, ProcDir};
use super::proc_files::{Privileges, Status};
use super::{Executable, FileIdentity, Peer, PeerError};
use crate::weakened::Protection;

/// User and group ids of a process (credentials(7)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// Effective user id: what `unix:uid` means.
    pub uid: u32,
    /// Effective group id: what `unix:gid` means.
    pub gid: u32,
}

/// One line of `/proc/PID/cgroup` (cgroups(7)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CgroupMembership {
    /// Hierarchy id; 0 for cgroup v2.
    pub hierarchy: u32,
    /// Controllers, or `name=systemd`; empty for cgroup v2.
    pub controllers: String,
    /// Path from the root of the hierarchy as the agent's cgroup namespace shows it. Begins
    /// with `/..` where the process is outside that root.
    pub path: String,
}

/// One running program: a process between two `exec`s. Two instances never share a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProcessInstance {
    /// Pid in the agent's pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot (proc(5), `stat` field 22).
    pub start_time: u64,
    /// The image that it runs.
    pub executable: FileIdentity,
}

/// The facts that must not change between being read and being relied on.
#[derive(Debug)]
pub(super) struct Facts {
    start_time: u64,
    start_stack: u64,
    status: Status,
    executable: FileIdentity,
    /// The file, which says the same as long as it is the same.
    cgroups: Box<[u8]>,
}

impl Facts {
    fn read(dir: &ProcDir<'_>, peer: &Peer) -> Result<Self, PeerError> {
        let stat = dir.stat()?;
        if matches!(stat.state, b'Z' | b'X' | b'x') && !Protection::Leader.is_out() {
            // The pidfd speaks for the whole thread group, `stat` for its first thread only.
            return Err(if peer.is_alive() { PeerError::LeaderExited { pid: peer.pid } } else { PeerError::Exited });
        }
        Ok(Self {
            start_time: stat.start_time,
            start_stack: stat.start_stack,
            status: dir.status()?,
            executable: dir.executable_identity()?,
            cgroups: dir.cgroup_file()?,
        })
    }

    /// The first fact of `now` that is not as it was.
    fn difference(&self, now: &Self) -> Option<&'static str> {
        if Protection::Change.is_out() {
            return None;
        }
        (self.executable != now.executable).then_some("executable").or_else(|| self.program_difference(now))
    }

    /// The same, but for what happens to a running executable's file from outside: its name
    /// may go and its mode may change, and the program is the same.
    pub(super) fn program_difference(&self, now: &Self) -> Option<&'static str> {
        if Protection::Change.is_out() {
            return None;
        }
        let file = |facts: &Self| (facts.executable.dev, facts.executable.ino);
        [
            ("start time", self.start_time != now.start_time),
            ("executable", file(self) != file(now)),
            ("running image", self.start_stack != now.start_stack),
            ("credentials", self.status.ids() != now.status.ids()),
            ("tracer", self.status.tracer != now.status.tracer && !Protection::Traced.is_out()),
            ("privileges", self.status.privileges != now.status.privileges),
            ("cgroup", self.cgroups != now.cgroups),
        ]
        .into_iter()
        .find_map(|(what, differs)| differs.then_some(what))
    }
}

/// What was read about a peer, reduced to what is compared when it asks again. Costs no
/// descriptor beside the peer's pidfd, so it may be kept as long as the connection.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    peer: Arc<Peer>,
    facts: Arc<Facts>,
}

impl Fingerprint {
    /// Reads the facts again and compares: start time, executable, credentials with all
    /// groups, tracer, privileges, cgroups; and at the end that the process lives, without which the facts could
    /// be another's. Reads the kernel's own files only.
    ///
    /// # Errors
    /// The process is gone, or is no longer what was read.
    pub fn recheck(&self) -> Result<(), PeerError> {
        if Protection::Change.is_out() {
            return self.peer.check_alive();
        }
        let dir = ProcDir::open(&self.peer)?;
        let now = Facts::read(&dir, &self.peer)?;
        if let Some(what) = self.facts.difference(&now) {
            self.peer.countersign.send_away();
            return Err(PeerError::Changed { what });
        }
        self.peer.check_alive()
    }

    /// Takes hold of what later glances look at, and reads the facts again afterwards, as
    /// [`Fingerprint::recheck`] does. None where glances cannot be had.
    ///
    /// # Errors
    /// The process is gone, or is no longer what was read.
    pub fn hold(&self) -> Result<Option<Glance>, PeerError> {
        let glance = Glance::take(&self.peer);
        self.recheck()?;
        Ok(glance)
    }

    /// Whether the process is what was read as far as a glance goes. If not, [`Fingerprint::recheck`] says what is
    /// different.
    pub fn is_seen_by(&self, glance: &Glance) -> bool {
        glance.shows(&self.peer, &self.facts.status, &self.facts.executable)
    }

    /// Whether the process has proven on its connection that it is the one that asks, and nobody else has spoken there.
    pub fn is_proven(&self) -> bool {
        self.peer.countersign.is_given()
    }

    /// Whether nothing that was read is different from what was read of the other, on whichever connection that was.
    pub fn is_of_same_program(&self, other: &RememberedFingerprint) -> bool {
        !Protection::Change.is_out() && self.peer.pid == other.pid && self.facts.difference(&other.facts).is_none()
    }

    /// Whether what was read later on the same connection is what was read here.
    ///
    /// # Errors
    /// What is different.
    pub fn check_same(&self, later: &Self) -> Result<(), PeerError> {
        self.facts.difference(&later.facts).map_or(Ok(()), |what| {
            self.peer.countersign.send_away();
            Err(PeerError::Changed { what })
        })
    }

    /// The same without a hold on the connection.
    pub fn remembered(&self) -> RememberedFingerprint {
        let (peer, facts) = (Arc::downgrade(&self.peer), Arc::clone(&self.facts));
        RememberedFingerprint { pid: self.peer.pid, peer, facts }
    }

    /// The process.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The instance that the facts are about.
    pub fn instance(&self) -> ProcessInstance {
        ProcessInstance { pid: self.peer.pid, start_time: self.facts.start_time, executable: self.facts.executable }
    }

    /// Effective user and group id.
    pub fn credentials(&self) -> Credentials {
        self.facts.status.effective()
    }
}

/// A [`Fingerprint`] that may be kept with the very connection whose process it is about.
#[derive(Debug)]
pub struct RememberedFingerprint {
    pid: i32,
    peer: Weak<Peer>,
    facts: Arc<Facts>,
}

impl RememberedFingerprint {
    /// The fingerprint, as long as the connection lives. Says nothing about now.
    pub fn again(&self) -> Option<Fingerprint> {
        Some(Fingerprint { peer: self.peer.upgrade()?, facts: Arc::clone(&self.facts) })
    }
}

/// Every fact that selectors are made of, read while the process lived. Made only by
/// [`Peer::evidence`].
#[derive(Debug)]
pub struct Evidence {
    fingerprint: Fingerprint,
    executable: Executable,
    cgroups: Vec<CgroupMembership>,
}

impl Evidence {
    pub(super) fn read(peer: &Arc<Peer>) -> Result<Self, PeerError> {
        let dir = ProcDir::open(peer)?;
        let facts = Facts::read(&dir, peer)?;
        let cgroups = dir.cgroups_in(&facts.cgroups)?;
        let link = dir.executable_link()?;
        let executable = Executable::new(link, dir.hold_executable()?).map_err(|source| peer.failure("exe", source))?;
        if executable.identity() != facts.executable {
            return Err(PeerError::Changed { what: "executable" });
        }
        let fingerprint = Fingerprint { peer: Arc::clone(peer), facts: Arc::new(facts) };
        // Since connect the process may have run a set-uid program or dropped its privilege.
        // Either way the one who asks is not the one who connected.
        if fingerprint.credentials() != peer.connected_as && !Protection::ConnectedAs.is_out() {
            peer.countersign.send_away();
            return Err(PeerError::Changed { what: "credentials" });
        }
        peer.check_alive()?;
        peer.countersign.ask(&fingerprint.facts).inspect_err(|_| peer.countersign.send_away())?;
        Ok(Self { fingerprint, executable, cgroups })
    }

    /// Waits until the process has proven that it is the one that asks. The evidence is to be
    /// read again afterwards: the answer is this program's own only if it was no other meanwhile.
    ///
    /// # Errors
    /// Another process speaks on the connection, nobody answers, or the process is gone.
    pub async fn proven(&self) -> Result<(), PeerError> {
        let peer = &self.fingerprint.peer;
        tokio::select! {
            given = peer.countersign.given() => given,
            () = peer.exited() => Err(PeerError::Exited),
        }
    }

    /// Reads the facts again and compares; see [`Fingerprint::recheck`].
    ///
    /// # Errors
    /// The process is gone, or is no longer what the evidence says.
    pub fn recheck(&self) -> Result<(), PeerError> {
        self.fingerprint.recheck()
    }

    /// What outlives the evidence.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The instance that the evidence is about.
    pub fn instance(&self) -> ProcessInstance {
        self.fingerprint.instance()
    }

    /// Effective user and group id. Where a set-uid program runs, these are the program's:
    /// the kernel decides by them, and they are what the program connected with.
    pub fn credentials(&self) -> Credentials {
        self.fingerprint.credentials()
    }

    /// Real user and group id: who started a set-uid program.
    pub fn real_credentials(&self) -> Credentials {
        let status = &self.fingerprint.facts.status;
        let ([uid, ..], [gid, ..]) = (status.uids, status.gids);
        Credentials { uid, gid }
    }

    /// Every user id of the process: real, effective, saved and file system.
    pub fn all_uids(&self) -> [u32; 4] {
        self.fingerprint.facts.status.uids
    }

    /// Every group id of the process but the supplementary ones: real, effective, saved and file system.
    pub fn all_gids(&self) -> [u32; 4] {
        self.fingerprint.facts.status.gids
    }

    /// What it may do beside what its ids let it.
    pub fn privileges(&self) -> Privileges {
        self.fingerprint.facts.status.privileges
    }

    /// Pid of its tracer, which may be any thread's where [`Evidence::threads`] has more than one.
    pub fn tracer(&self) -> Option<i32> {
        let tracer = self.fingerprint.facts.status.tracer;
        (tracer != 0).then_some(tracer)
    }

    /// How many threads it had.
    pub fn threads(&self) -> u32 {
        self.fingerprint.facts.status.threads
    }

    /// Supplementary group ids, sorted.
    pub fn supplementary_groups(&self) -> &[u32] {
        &self.fingerprint.facts.status.groups
    }

    /// The running image.
    pub fn executable(&self) -> &Executable {
        &self.executable
    }

    /// Its cgroups, in the kernel's order.
    pub fn cgroups(&self) -> &[CgroupMembership] {
        &self.cgroups
    }

    /// Whether somebody who is not root here can send bytes in the name of the process: it lives in
    /// a pid namespace whose user namespace has a root of its own.
    ///
    /// # Errors
    /// The process is gone, or its namespaces cannot be looked at.
    pub fn sender_can_be_forged(&self) -> Result<bool, PeerError> {
        ProcDir::open(&self.fingerprint.peer)?.sender_can_be_forged()
    }

    /// `/proc/PID/mountinfo` of the process, as bytes (proc(5)).
    ///
    /// # Errors
    /// The process is gone, or the file cannot be read.
    pub fn mountinfo(&self) -> Result<Vec<u8>, PeerError> {
        ProcDir::open(&self.fingerprint.peer)?.mountinfo()
    }
}

/// The file systems that are mounted for the agent, then those that are mounted for the first
/// process of its pid namespace: two `mountinfo` files of mounts that no workload made. The
/// second is empty where the agent may not read it.
///
/// # Errors
/// The agent's own mounts cannot be read.
pub fn trusted_mountinfo() -> io::Result<[Vec<u8>; 2]> {
    Ok([proc_dir::mountinfo_of("self")?, proc_dir::mountinfo_of("1").unwrap_or_default()])
}
