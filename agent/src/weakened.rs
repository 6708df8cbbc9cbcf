//! Protections that the attack suites take out, one at a time, to see that the attack then works.
//!
//! Only a build with the cargo feature `weakened` can do without any: there
//! [`Protection::is_out`] reads the environment variable `COUNTERSIGN_WEAKENED`. In every other
//! build it is a constant `false`, and nothing of this is in the program.

/// What an attack row of the suites runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// A process that has exited is answered no more.
    Exit,
    /// A process that is no longer what was attested is answered no more.
    Change,
    /// Credentials at connect and at the request must agree.
    ConnectedAs,
    /// Bytes of another process end the connection.
    Sender,
    /// The attested process must answer on its connection.
    Countersign,
    /// Who can forge the sender of bytes is refused.
    ForgedSender,
    /// A path counts only where agent and process mean the same file by it.
    Path,
    /// A name in the cgroup tree counts only where no unprivileged user can make it.
    CgroupName,
    /// A process without its first thread is refused.
    Leader,
    /// The image is the one that the kernel runs, not the one that it was called by.
    Image,
    /// Traced processes are refused.
    Traced,
    /// Executables without a name are refused.
    Nameless,
    /// Executables that the workload can write are refused.
    Writable,
    /// Foreign code in a process whose image an entry names is refused.
    ForeignCode,
    /// Admission before attestation, fair between users and cgroups.
    Admission,
    /// What one user or cgroup may have of the processors' time while others ask.
    Pace,
    /// A bound on the bytes that one user may have hashed.
    HashBudget,
    /// Bounds on frames, header blocks and streams.
    FrameLimits,
    /// A stream that is not read is ended.
    ReadLimit,
    /// A change is on disk before it is confirmed.
    Durable,
    /// What cannot be recorded is neither issued nor changed.
    Recorded,
    /// A token is handed out again only while it is fresh.
    Fresh,
    /// What is at rest is used whole or not at all.
    Whole,
    /// A runtime is asked only where nobody but root can answer.
    RuntimeSocket,
}

impl Protection {
    /// Every protection, with the name that takes it out.
    pub const ALL: [(Self, &'static str); 24] = [
        (Self::Exit, "exit"),
        (Self::Change, "change"),
        (Self::ConnectedAs, "connected-as"),
        (Self::Sender, "sender"),
        (Self::Countersign, "countersign"),
        (Self::ForgedSender, "forged-sender"),
        (Self::Path, "path"),
        (Self::CgroupName, "cgroup-name"),
        (Self::Leader, "leader"),
        (Self::Image, "image"),
        (Self::Traced, "traced"),
        (Self::Nameless, "nameless"),
        (Self::Writable, "writable"),
        (Self::ForeignCode, "foreign-code"),
        (Self::Admission, "admission"),
        (Self::Pace, "pace"),
        (Self::HashBudget, "hash-budget"),
        (Self::FrameLimits, "frame-limits"),
        (Self::ReadLimit, "read-limit"),
        (Self::Durable, "durable"),
        (Self::Recorded, "recorded"),
        (Self::Fresh, "fresh"),
        (Self::Whole, "whole"),
        (Self::RuntimeSocket, "runtime-socket"),
    ];

    /// Whether it was taken out.
    #[cfg(not(feature = "weakened"))]
    #[inline]
    pub const fn is_out(self) -> bool {
        false
    }

    /// Whether it was taken out. Asked often, and measured beside a build that does not ask.
    #[cfg(feature = "weakened")]
    pub fn is_out(self) -> bool {
        let name = Self::ALL.into_iter().find_map(|(protection, name)| (protection == self).then_some(name));
        let named = std::env::var_os(VARIABLE).unwrap_or_default();
        named.as_encoded_bytes().split(|byte| *byte == b',').any(|word| Some(word) == name.map(str::as_bytes))
    }
}

/// The environment variable that names what is taken out.
#[cfg(feature = "weakened")]
const VARIABLE: &str = "COUNTERSIGN_WEAKENED";

/// What the environment takes out; none if it names something that is no protection, so that no
/// attack fails for a reason of its own.
#[cfg(feature = "weakened")]
pub fn taken_out() -> Option<Vec<Protection>> {
    let named = std::env::var(VARIABLE).unwrap_or_default();
    let known = |name: &str| Protection::ALL.into_iter().find(|(_, known)| *known == name);
    let names = named.split(',').filter(|name| !name.is_empty());
    names.map(|name| known(name).map(|(protection, _)| protection)).collect()
}
