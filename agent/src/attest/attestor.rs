//! What an attestor is: it turns evidence into selectors of its own kinds, or says why not.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_common::selector::{Selector, SelectorKind};

use super::docker::DockerError;
use crate::admission::OverBudget;
use crate::peer::{Evidence, PeerError};

/// What telling a kind of selector costs. Cheaper kinds are told first, and dearer ones only
/// where the cheaper ones leave an entry in play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// The evidence says it already. Told of every peer.
    Nothing,
    /// A question to the file system, the user database or another daemon.
    Question,
    /// Reading a file from its first byte to its last.
    WholeFile,
}

impl Cost {
    /// From the cheapest to the dearest.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Question, Self::WholeFile];
}

/// Turns evidence into selectors.
#[async_trait]
pub trait WorkloadAttestor: Send + Sync {
    /// What logs call it.
    fn name(&self) -> &'static str;

    /// The kinds that it tells. No two attestors tell the same kind.
    fn kinds(&self) -> &'static [SelectorKind];

    /// What asking it costs.
    fn cost(&self) -> Cost;

    /// Tells every selector of the kinds `wanted` that holds; all of them are among its
    /// [`WorkloadAttestor::kinds`]. A kind of which it tells none is one of which none holds.
    ///
    /// # Errors
    /// It cannot find out. Then none of `wanted` counts as told: half an answer is an error.
    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError>;
}

/// Why an attestor cannot tell.
#[derive(Debug, thiserror::Error)]
pub enum AttestorError {
    /// The process went, changed, or cannot be read.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The kernel or a file system did not answer.
    #[error("cannot read {what}: {source}")]
    Unreadable {
        /// What was being read.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The user database did not answer (nsswitch.conf(5)).
    #[error("the user database did not answer: {0}; check the services in /etc/nsswitch.conf")]
    UserDatabase(#[source] io::Error),
    /// The executable is too long to be hashed.
    #[error(
        "the executable has {bytes} bytes, and at most {limit} are hashed; raise max_executable_bytes to attest it"
    )]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The configured bound.
        limit: u64,
    },
    /// Too much was hashed for this caller lately.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    /// The executable was written while it was being hashed.
    #[error("the executable changed while it was being hashed")]
    ChangedWhileHashed,
    /// The image may be served by the workload itself.
    #[error(
        "the executable lies on {0}, whose owner may show the agent other bytes than it runs; put it on a file \
         system that is mounted by the machine"
    )]
    ForeignFileSystem(&'static str),
    /// The agent sees cgroups from inside a cgroup namespace.
    #[error(
        "the cgroup path \"{path}\" is outside the agent's cgroup namespace, so it is not a path from the root; run \
         the agent in the cgroup namespace of its workloads or above"
    )]
    CgroupOutsideNamespace {
        /// The path as the agent sees it.
        path: String,
    },
    /// The process is outside the agent's cgroup namespace, and so is the part of the tree that it is in.
    #[error(
        "the cgroup path \"{path}\" is outside the agent's cgroup namespace; run the agent in the machine's cgroup \
         namespace, or mount the machine's /sys/fs/cgroup for it beside its own, such as at /host/cgroup"
    )]
    CgroupOutOfReach {
        /// The path as the agent sees it.
        path: String,
    },
    /// Not a path as cgroups(7) has it.
    #[error("the cgroup path \"{path}\" is not as this agent knows it; the kernel may be too new")]
    CgroupUnknown {
        /// The path.
        path: String,
    },
    /// The agent cannot see who owns the directories of a hierarchy.
    #[error(
        "the cgroup hierarchy {hierarchy} is not mounted for the agent, so that it cannot see who made the names in \
         it; mount it, as at /sys/fs/cgroup"
    )]
    CgroupUnseen {
        /// `cgroup2`, or the controllers.
        hierarchy: String,
    },
    /// Hierarchies name different containers.
    #[error(
        "the process is in container {one} in one cgroup hierarchy and in container {other} in another; somebody \
         with privilege moved it by hand"
    )]
    TwoContainers {
        /// What the first hierarchy says.
        one: String,
        /// What another says.
        other: String,
    },
    /// The unit is that of a service manager whose `/run` is not the agent's.
    #[error(
        "the invocation id of the unit is in /run of the machine, which an agent in a container has not; run the \
         agent on the machine"
    )]
    InvocationElsewhere,
    /// Invocation ids could be anybody's.
    #[error(
        "others than root may write /run/systemd/units, where invocation ids are; make it and what it is in root's"
    )]
    InvocationForged,
    /// There is no cgroup v2 and no systemd hierarchy.
    #[error("the process is in no cgroup v2 hierarchy and in none named systemd")]
    NoCgroup,
    /// The Docker daemon did not tell, or is not to be asked.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The answer did not come in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The work was given up, as when the agent shuts down.
    #[error("the work was given up before its end")]
    GivenUp,
}
