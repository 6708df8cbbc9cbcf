//! Evidence to selectors.
//!
//! The evidence about a peer is handed to one attestor after another, cheapest first; each
//! tells the selectors of its kinds that hold. Before the dearer ones are asked, the caller says
//! which kinds still matter. At the end the process itself has to answer on its connection, the
//! evidence is read again, and only if it is unchanged is there an [`Attestation`], without which
//! no policy grants anything.
//!
//! ```
//! use countersign_agent::attest::Attestation;
//!
//! fn who(attestation: &Attestation) -> u32 {
//!     attestation.credentials().uid
//! }
//! ```
//!
//! Nobody else can make one:
//!
//! ```compile_fail,E0451
//! use countersign_agent::attest::Attestation;
//!
//! fn forge(honest: Attestation) -> Attestation {
//!     Attestation { found: todo!(), ..honest }
//! }
//! ```

mod attestation;
mod attestor;
mod cgroup;
mod cgroup_tree;
mod claims;
mod code;
mod container;
mod container_name;
mod digests;
mod docker;
mod image_hash;
mod image_rules;
mod kept;
mod mounts;
mod parent;
mod process;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod recent;
mod slots;
mod systemd;
mod unit;
mod unix;
#[cfg(feature = "weakened")]
mod weakened_once;
mod writer;

#[cfg(test)]
mod cgroup_samples;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign_common::clock::Clock;
use countersign_common::selector::{Selector, SelectorKind};

use tokio::time::Instant;

use crate::admission::HashBudget;
use crate::peer::{self, Peer, PeerError};

pub use attestation::Attestation;
use attestation::Findings;
#[cfg(test)]
pub(crate) use attestation::attestation_for_tests;
pub use attestor::{AttestorError, Cost, WorkloadAttestor};
pub use docker::DockerError;
pub use image_rules::Verdict;
use kept::Glances;
pub use kept::{Kept, LOOK_AGE, READ_AGE};
use recent::Recent;
use slots::Slots;

/// How many questions to file systems and databases may be open at a time; of these
/// [`QUESTIONS_PER_USER`] for the peers of one uid.
const QUESTIONS: usize = 256;

/// How many questions may be open for the peers of one uid.
const QUESTIONS_PER_USER: usize = 8;

/// How long an attestation may take: the answers of the attestors that wait for somebody, one
/// after another, and that of the process itself.
pub const LONGEST: Duration = Duration::from_secs(
    10 * unix::ANSWER_LIMIT.as_secs() + 2 * image_hash::DIGEST_LIMIT.as_secs() + peer::ANSWER_LIMIT.as_secs(),
);

/// Why there is no attestation.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The peer is gone, has changed, or cannot be read.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// Bounds on what attesting may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest executable that is hashed, in bytes. One that is longer makes
    /// `unix:sha256` unavailable.
    pub max_executable_bytes: u64,
    /// How many executables are hashed at a time; at least one.
    pub parallel_hashes: usize,
}

/// Daemons that may be asked about the containers that they made.
#[derive(Clone, Debug, Default)]
pub struct Daemons {
    /// Socket of the Docker daemon. Without one, what entries say of a Docker container is
    /// unavailable for the processes in one.
    pub docker: Option<PathBuf>,
}

/// All attestors, cheapest first.
pub struct Attestors {
    attestors: Vec<Box<dyn WorkloadAttestor>>,
    questions: Arc<Slots>,
    hashes_taken: Arc<AtomicU64>,
    glances: Arc<Glances>,
    recent: Recent,
    #[cfg(feature = "weakened")]
    first: weakened_once::First,
}

impl Attestors {
    /// The attestors that the agent has. What is hashed is on the account of `budget`. The clock
    /// only tells which files were changed a moment ago.
    pub fn new(limits: Limits, budget: Arc<HashBudget>, daemons: Daemons, clock: Arc<dyn Clock>) -> Self {
        let questions = Arc::new(Slots::new(QUESTIONS, QUESTIONS_PER_USER));
        let Limits { max_executable_bytes, parallel_hashes } = limits;
        let hashing = image_hash::Hashing { max_bytes: max_executable_bytes, parallel: parallel_hashes, budget };
        let image_hash = Arc::new(image_hash::ImageHash::new(hashing, Arc::clone(&questions), clock));
        let hashes_taken = image_hash.taken();
        let [docker, docker_image] = docker::Docker::attestors(daemons.docker, Arc::clone(&questions));
        let attestors: Vec<Box<dyn WorkloadAttestor>> = vec![
            Box::new(unix::UnixIds),
            Box::new(cgroup::CgroupPath),
            Box::new(unix::UnixNames { slots: Arc::clone(&questions) }),
            Box::new(unix::UnixPath { slots: Arc::clone(&questions) }),
            Box::new(container::ContainerNames { slots: Arc::clone(&questions) }),
            Box::new(systemd::SystemdUnits { slots: Arc::clone(&questions) }),
            Box::new(process::ProcessFacts { slots: Arc::clone(&questions) }),
            Box::new(code::Libraries { slots: Arc::clone(&questions) }),
            Box::new(parent::ParentPath { slots: Arc::clone(&questions) }),
            Box::new(parent::ParentHash { hash: Arc::clone(&image_hash) }),
            Box::new(docker),
            Box::new(docker_image),
            Box::new(image_hash),
        ];
        Self {
            attestors,
            questions,
            hashes_taken,
            glances: Arc::default(),
            recent: Recent::default(),
            #[cfg(feature = "weakened")]
            first: weakened_once::First::default(),
        }
    }

    /// How many executables were hashed since the start; those whose digest was remembered
    /// are not counted.
    pub fn hashes_taken(&self) -> u64 {
        self.hashes_taken.load(Ordering::Relaxed)
    }

    /// Attests a peer. `worth_telling` is given the selectors so far and the kinds that are told
    /// so far, and answers which other kinds an entry still turns on; kinds that cost
    /// something are told only if it names them.
    ///
    /// # Errors
    /// The peer is gone, changed before the end, or is not the one that asks. An attestor that cannot tell is no error
    /// here: its kinds become [`Attestation::unavailable`].
    pub async fn attest(
        &self,
        peer: &Arc<Peer>,
        worth_telling: impl Fn(&BTreeSet<Selector>, &BTreeSet<SelectorKind>) -> BTreeSet<SelectorKind> + Send,
    ) -> Result<Attestation, AttestError> {
        #[cfg(not(feature = "weakened"))]
        let evidence = Arc::new(peer.evidence()?);
        #[cfg(feature = "weakened")]
        let evidence = self.first.of(peer)?;
        let looked = Instant::now();
        if let Some(found) = self.recent.of(&evidence, looked).filter(|found| found.is_enough(&worth_telling)) {
            evidence.proven().await?;
            let read = Instant::now();
            evidence.recheck()?;
            return Ok(Attestation::again(evidence.fingerprint().clone(), read, found));
        }
        let mut findings = Findings::default();
        for cost in Cost::ALL {
            let wanted = match cost {
                Cost::Nothing => SelectorKind::ALL.into(),
                _ => worth_telling(&findings.selectors, &findings.told),
            };
            for attestor in self.attestors.iter().filter(|attestor| attestor.cost() == cost) {
                findings.ask(attestor.as_ref(), &evidence, &wanted).await;
            }
        }
        let image = image_rules::judge(&self.questions, &evidence, findings.name_image()).await;
        evidence.proven().await?;
        let attestation = findings.conclude(&evidence, looked, image)?;
        self.recent.remember(&attestation, &self.glances, looked);
        Ok(attestation)
    }

    /// Attests the peer of `before` once more: the very program that was attested then. Where the same process was just
    /// attested, on whichever of its connections, that is used, after a glance; [`Kept`] says for how long.
    ///
    /// # Errors
    /// As [`Attestors::attest`]; and it is another program, user or cgroup than it was.
    pub async fn attest_again(
        &self,
        before: &Attestation,
        worth_telling: impl Fn(&BTreeSet<Selector>, &BTreeSet<SelectorKind>) -> BTreeSet<SelectorKind> + Send,
    ) -> Result<Attestation, AttestError> {
        let process = before.fingerprint();
        if let Some(known) = self.recent.known(process)
            && let Some(attestation) = known.again_on(process, Instant::now())?
            && attestation.found().is_enough(&worth_telling)
        {
            return Ok(attestation);
        }
        let attestation = self.attest(process.peer(), worth_telling).await?;
        process.check_same(attestation.fingerprint())?;
        Ok(attestation)
    }
}

/// A selector; none if no entry could name such a value, as with a path that has a line break.
fn selector(kind: SelectorKind, value: &str) -> Option<Selector> {
    Selector::new(kind, value).ok()
}
