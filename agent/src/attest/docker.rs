//! `docker:label`, `docker:env`, `docker:image_id`, `docker:image_config_digest`: what the Docker
//! daemon says about the container that the process is in.
//!
//! Which container that is, is the kernel's word: the id comes from the cgroup. What the container
//! is, is the daemon's: it is root's, it is asked at a socket that only root can serve, and
//! whoever may ask it to run containers is as good as root anyway.
//!
//! Ids of containers are never used twice, and what is told here stays the same from the making of
//! a container to its end. So an answer is remembered; a failure never is.

mod answer;
mod engine;
mod remembered;
mod socket;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use countersign_common::selector::{Selector, SelectorKind};

use super::container::{Runtime, container_of};
use super::slots::Slots;
use super::unix::ANSWER_LIMIT;
use super::{AttestorError, Cost, WorkloadAttestor};
use crate::peer::Evidence;
use crate::trusted_path::PathError;
use engine::Engine;
use remembered::Remembered;

/// How many questions to the daemon may be open at a time; of these [`QUESTIONS_PER_USER`] for the
/// peers of one uid.
const QUESTIONS: usize = 16;

/// How many questions to the daemon may be open for the peers of one uid.
const QUESTIONS_PER_USER: usize = 4;

/// Why Docker did not tell. None of them has a value of the container's environment in it.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The operator named no daemon.
    #[error(
        "the process is in Docker container {id} and no daemon may be asked about it; set socket in [attest.docker]"
    )]
    NotConfigured {
        /// The container.
        id: String,
    },
    /// Somebody else could put a socket of their own at the configured path.
    #[error("Docker is not asked, since its socket could be another's: {0}")]
    Path(#[from] PathError),
    /// What is at the configured path is no socket, or not root's.
    #[error("Docker is not asked, since {path} {fault}")]
    Socket {
        /// The path, without links.
        path: PathBuf,
        /// What is wrong with it.
        fault: socket::Fault,
    },
    /// The daemon cannot be reached, or broke off.
    #[error("cannot {doing} Docker at {path}: {source}; is the daemon running, and may the agent use its socket?")]
    Unreachable {
        /// What was being done.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The conversation broke off, or was no HTTP.
    #[error("the conversation with Docker broke off: {0}")]
    Conversation(#[from] hyper::Error),
    /// The daemon has no such container: another daemon made it.
    #[error("Docker knows no container {id}; does the socket in [attest.docker] belong to the daemon that runs it?")]
    Unknown {
        /// The container.
        id: String,
    },
    /// The daemon refuses or fails.
    #[error("Docker answers with status {status} when asked for {what}; see its log")]
    Status {
        /// What was asked for.
        what: &'static str,
        /// The status of HTTP.
        status: u16,
    },
    /// An answer is longer than the agent reads.
    #[error("Docker answers with more than {limit} bytes when asked for {what}")]
    TooLong {
        /// What was asked for.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// An answer is not as the Engine API has it. The place alone is told: the text may be secret.
    #[error("Docker's answer for {what} is not as this agent knows it, at line {line} column {column}")]
    Malformed {
        /// What was asked for.
        what: &'static str,
        /// Line of the answer, from 1; 0 where it is about the whole.
        line: usize,
        /// Column in that line, from 1.
        column: usize,
    },
    /// The answer is about another container than the question.
    #[error("Docker was asked about container {id} and answered about another")]
    OtherContainer {
        /// The container that was asked about.
        id: String,
    },
    /// A process is in the cgroup of a container that does not run.
    #[error("Docker says that container {id} does not run, and yet the process is in its cgroup")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// The image store has no digest of the configuration to tell.
    #[error(
        "Docker keeps its images in containerd's store, where the id of an image is the digest of its manifest or \
         index and the digest of its configuration is not told; use docker:image_id"
    )]
    ContainerdStore,
}

/// What one question to the daemon answers. A kind that one store of images cannot tell must not
/// make the others unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Topic {
    Container,
    ImageConfig,
}

/// The daemon, as all questions share it.
struct Daemon {
    socket: Option<PathBuf>,
    questions: Slots,
    /// For what is looked up in file systems.
    look_ups: Arc<Slots>,
    remembered: Mutex<Remembered>,
}

/// Tells what Docker says about one topic.
pub(super) struct Docker {
    topic: Topic,
    daemon: Arc<Daemon>,
}

impl Docker {
    /// The attestors that ask the daemon at `socket`, or refuse to tell where there is none.
    /// `look_ups` bound what is looked up in file systems.
    pub(super) fn attestors(socket: Option<PathBuf>, look_ups: Arc<Slots>) -> [Self; 2] {
        let daemon = Arc::new(Daemon::new(socket, look_ups));
        let about = |topic| Self { topic, daemon: Arc::clone(&daemon) };
        [about(Topic::Container), about(Topic::ImageConfig)]
    }
}

#[async_trait]
impl WorkloadAttestor for Docker {
    fn name(&self) -> &'static str {
        match self.topic {
            Topic::Container => "docker",
            Topic::ImageConfig => "docker image",
        }
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        match self.topic {
            Topic::Container => &[SelectorKind::DockerLabel, SelectorKind::DockerEnv, SelectorKind::DockerImageId],
            Topic::ImageConfig => &[SelectorKind::DockerImageConfigDigest],
        }
    }

    fn cost(&self) -> Cost {
        Cost::Question
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        _wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let uid = evidence.credentials().uid;
        let told = async {
            let evidence = Arc::clone(evidence);
            let container = self.daemon.look_ups.run(uid, ANSWER_LIMIT, move || container_of(&evidence)).await?;
            match container.filter(|container| container.runtime == Runtime::Docker) {
                Some(container) => self.daemon.tell(uid, self.topic, &container.id).await,
                None => Ok(Vec::new()),
            }
        };
        within_the_limit(told).await
    }
}

/// The whole answer: the cgroup, the wait for a slot, the daemon.
async fn within_the_limit<T>(told: impl Future<Output = Result<T, AttestorError>>) -> Result<T, AttestorError> {
    tokio::time::timeout(ANSWER_LIMIT, told).await.unwrap_or(Err(AttestorError::Late(ANSWER_LIMIT)))
}

impl Daemon {
    fn new(socket: Option<PathBuf>, look_ups: Arc<Slots>) -> Self {
        let questions = Slots::new(QUESTIONS, QUESTIONS_PER_USER);
        Self { socket, questions, look_ups, remembered: Mutex::default() }
    }

    /// What holds for container `id`, for a peer of `uid`.
    async fn tell(&self, uid: u32, topic: Topic, id: &str) -> Result<Vec<Selector>, AttestorError> {
        let Some(socket) = &self.socket else { return Err(DockerError::NotConfigured { id: id.to_owned() }.into()) };
        if let Some(known) = self.known(topic, id) {
            return Ok(known);
        }
        let _slot = self.questions.take(uid).await?;
        // Whoever held the slot may have asked about the same container.
        if let Some(known) = self.known(topic, id) {
            return Ok(known);
        }
        let mut engine = Engine::open(socket::connect(socket, &self.look_ups, uid).await?).await?;
        let selectors = match topic {
            Topic::Container => engine.container(id).await?.selectors(),
            Topic::ImageConfig => engine.image_config(id).await?.into_iter().collect(),
        };
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).remember((topic, id.to_owned()), &selectors);
        Ok(selectors)
    }

    fn known(&self, topic: Topic, id: &str) -> Option<Vec<Selector>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).look_up(&(topic, id.to_owned()))
    }
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Docker").field("topic", &self.topic).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
