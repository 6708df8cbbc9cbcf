//! The proof that a peer was attested, and how it comes about: findings, then a last look.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use countersign_common::entry::ImageRule;
use countersign_common::selector::{Selector, SelectorKind};
use tokio::time::Instant;

use super::image_rules::{Verdict, Verdicts};
use super::kept::LOOK_AGE;
use super::{WorkloadAttestor, cgroup};
use crate::audit::{Caller, Whom};
#[cfg(test)]
use crate::peer::Peer;
use crate::peer::{Credentials, Evidence, Fingerprint, PeerError, ProcessInstance};

/// What was found out about a peer. Made only here, after the liveness check.
#[derive(Debug)]
pub struct Attestation {
    fingerprint: Fingerprint,
    /// When all facts were read last.
    read: Instant,
    found: Arc<Found>,
}

/// What was found out, which holds for the process on all of its connections.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// When it was begun to be asked.
    looked: Instant,
    instance: ProcessInstance,
    credentials: Credentials,
    selectors: BTreeSet<Selector>,
    told: BTreeSet<SelectorKind>,
    unavailable: BTreeSet<SelectorKind>,
    image: Verdicts,
    executable: PathBuf,
    cgroup: Option<String>,
    whom: OnceLock<Arc<Whom>>,
}

impl Attestation {
    /// Which running program this is about.
    pub fn instance(&self) -> &ProcessInstance {
        &self.found.instance
    }

    /// Effective credentials of the process.
    pub fn credentials(&self) -> &Credentials {
        &self.found.credentials
    }

    /// Facts that hold.
    pub fn selectors(&self) -> &BTreeSet<Selector> {
        &self.found.selectors
    }

    /// Kinds of which every selector that holds is in [`Attestation::selectors`]. An entry that
    /// was applied since may turn on another kind: then only a new attestation can decide.
    pub fn told(&self) -> &BTreeSet<SelectorKind> {
        &self.found.told
    }

    /// Kinds that an attestor should have told and could not: an entry that depends on
    /// one of them is undecided, which is not the same as not matching.
    pub fn unavailable(&self) -> &BTreeSet<SelectorKind> {
        &self.found.unavailable
    }

    /// What became of a rule about the image; none if it was not asked about, as that about
    /// foreign code where no selector tells which image the process runs.
    pub fn image(&self, rule: ImageRule) -> Option<&Verdict> {
        self.found.image.get(&rule)
    }

    /// Path of the running image.
    pub fn executable(&self) -> &Path {
        &self.found.executable
    }

    /// The process and its selectors, for the audit record.
    pub fn whom(&self) -> Arc<Whom> {
        Arc::clone(self.found.whom.get_or_init(|| Arc::new(self.found.for_audit())))
    }

    /// Whether the process is still what was attested.
    #[cfg(test)]
    pub(super) fn recheck(&self) -> Result<(), PeerError> {
        self.fingerprint.recheck()
    }

    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    pub(super) fn found(&self) -> &Arc<Found> {
        &self.found
    }

    /// Whether every question that was asked has its answer.
    pub(super) fn is_complete(&self) -> bool {
        let judged = |verdict: &Verdict| !matches!(verdict, Verdict::Unjudged(_));
        self.found.unavailable.is_empty() && self.found.image.values().all(judged)
    }

    /// What was found before, of a process of which all was read at `read` and is the same.
    pub(super) fn again(fingerprint: Fingerprint, read: Instant, found: Arc<Found>) -> Self {
        Self { fingerprint, read, found }
    }

    pub(super) fn read(&self) -> Instant {
        self.read
    }
}

impl Found {
    /// Whether it may be relied on still, for a process that is the same.
    pub(super) fn is_recent(&self, now: Instant) -> bool {
        now.duration_since(self.looked) < LOOK_AGE
    }

    /// Whether nothing but these kinds and selectors is asked for.
    pub(super) fn is_enough(
        &self,
        worth_telling: impl Fn(&BTreeSet<Selector>, &BTreeSet<SelectorKind>) -> BTreeSet<SelectorKind>,
    ) -> bool {
        worth_telling(&self.selectors, &self.told).is_empty()
    }

    fn for_audit(&self) -> Whom {
        let digest = self.selectors.iter().find(|selector| selector.kind() == SelectorKind::UnixSha256);
        let caller = Caller {
            pid: self.instance.pid,
            start_time: Some(self.instance.start_time),
            uid: self.credentials.uid,
            exe: Some(self.executable.clone()),
            sha256: digest.map(|selector| selector.value().to_owned()),
            cgroup: self.cgroup.clone(),
        };
        Whom::new(caller, self.selectors.iter().map(ToString::to_string).collect())
    }
}

/// What the attestors have told so far.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) selectors: BTreeSet<Selector>,
    pub(super) told: BTreeSet<SelectorKind>,
    unavailable: BTreeSet<SelectorKind>,
}

impl Findings {
    /// Asks one attestor for those of its kinds that are `wanted`. If it fails, they become
    /// unavailable: what it could not find out must not look like what does not hold.
    pub(super) async fn ask(
        &mut self,
        attestor: &dyn WorkloadAttestor,
        evidence: &Arc<Evidence>,
        wanted: &BTreeSet<SelectorKind>,
    ) {
        let wanted = attestor.kinds().iter().copied().filter(|kind| wanted.contains(kind)).collect::<BTreeSet<_>>();
        if wanted.is_empty() {
            return;
        }
        match attestor.attest(evidence, &wanted).await {
            Ok(selectors) => {
                self.selectors.extend(selectors.into_iter().filter(|selector| wanted.contains(&selector.kind())));
                self.told.extend(wanted);
            }
            Err(error) => {
                let pid = evidence.instance().pid;
                tracing::warn!(attestor = attestor.name(), pid, %error, "cannot attest");
                self.unavailable.extend(wanted);
            }
        }
    }

    /// Whether they tell which image the process runs, so that an entry may turn on that.
    pub(super) fn name_image(&self) -> bool {
        let image = [SelectorKind::UnixPath, SelectorKind::UnixSha256];
        self.selectors.iter().any(|selector| image.contains(&selector.kind()))
    }

    /// The only maker of an [`Attestation`]: reads the evidence again first. The descriptors
    /// of the evidence end with it; what is kept costs none beside the peer's own.
    pub(super) fn conclude(
        self,
        evidence: &Evidence,
        looked: Instant,
        image: Verdicts,
    ) -> Result<Attestation, PeerError> {
        let read = Instant::now();
        evidence.recheck()?;
        let found = Found {
            looked,
            instance: evidence.instance(),
            credentials: evidence.credentials(),
            selectors: self.selectors,
            told: self.told,
            unavailable: self.unavailable,
            image,
            executable: evidence.executable().path().to_owned(),
            cgroup: cgroup::path(evidence.cgroups()).map(str::to_owned),
            whom: OnceLock::new(),
        };
        Ok(Attestation { fingerprint: evidence.fingerprint().clone(), read, found: Arc::new(found) })
    }
}

/// An attestation that says what a test of another room wants it to say. Its fingerprint is
/// that of the test's own process.
#[cfg(test)]
pub(crate) fn attestation_for_tests(
    instance: ProcessInstance,
    credentials: Credentials,
    selectors: BTreeSet<Selector>,
) -> Attestation {
    let evidence = Peer::of_this_process().evidence().unwrap();
    let found = Found {
        looked: Instant::now(),
        instance,
        credentials,
        selectors,
        told: SelectorKind::ALL.into(),
        unavailable: BTreeSet::new(),
        image: ImageRule::ALL.map(|rule| (rule, Verdict::Kept)).into(),
        executable: PathBuf::new(),
        cgroup: None,
        whom: OnceLock::new(),
    };
    Attestation { fingerprint: evidence.fingerprint().clone(), read: found.looked, found: Arc::new(found) }
}

#[cfg(test)]
impl Attestation {
    pub(super) fn looked_for_tests(&self) -> Instant {
        self.found.looked
    }

    /// The same with another verdict, or without any.
    pub(crate) fn with_image(mut self, rule: ImageRule, verdict: Option<Verdict>) -> Self {
        let image = &mut Arc::make_mut(&mut self.found).image;
        image.remove(&rule);
        image.extend(verdict.map(|verdict| (rule, verdict)));
        self
    }
}
