//! The task that owns the key ring. Everything that changes it comes through here: the
//! clock, and operators. A change is saved first and published second, so that no key
//! signs that a restart would not know.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_common::bundle::BundleSet;
use countersign_common::clock::Clock;
use countersign_common::spiffe_id::TrustDomain;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::jwt_key::JwtKey;
use super::key_ring::KeyRing;
use super::life::{self, Step, Terms};
use super::sealed;
use super::sealing_key::SealingKey;
use super::signer::Signer;
use super::view::AuthorityView;
use super::x509_ca::X509Ca;
use crate::authority::AuthorityError;
use crate::drain::Drain;
use crate::store::{ForeignBundles, Store, StoreError};

/// How many requests wait for the keeper before callers wait to ask.
pub(super) const QUEUE: usize = 16;

/// The longest sleep. The runtime's timers stand still while the machine is suspended,
/// so that "in six hours" may be days away: the clock is looked at again and again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The shortest sleep, for a step that is due at once.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// How long nothing is tried after a failure, whoever asks.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// As many keys as an operator may publish by hand; the schedule needs at most four.
const MAX_KEYS_BY_HAND: usize = 8;

/// More steps than any state of the ring needs.
const MAX_STEPS: usize = 32;

/// Where the answer to a request goes.
pub(super) type Reply = oneshot::Sender<Result<AuthorityView, AuthorityError>>;

/// Everything that can be asked of the keeper.
pub(super) enum Request {
    /// Do what is due.
    Advance(Reply),
    /// Publish the next key, now.
    Prepare(Reply),
    /// Sign with the prepared key, now.
    Activate(Reply),
}

/// The one record that the keeper reads and writes.
#[async_trait]
pub(super) trait StateRecord: Send + Sync + 'static {
    /// What was saved last.
    async fn load(&self) -> Result<Option<Vec<u8>>, StoreError>;
    /// Saves; on disk when this returns.
    async fn save(&self, sealed: Vec<u8>) -> Result<(), StoreError>;
}

#[async_trait]
impl StateRecord for Store {
    async fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.authority_state().await
    }

    async fn save(&self, sealed: Vec<u8>) -> Result<(), StoreError> {
        self.save_authority_state(sealed).await
    }
}

/// Where the state is kept.
pub(super) struct AtRest {
    pub(super) record: Arc<dyn StateRecord>,
    /// Without one the state is kept nowhere, and ends with the process.
    pub(super) sealing_key: Option<SealingKey>,
}

/// What the keeper tells everyone.
pub(super) struct Published {
    pub(super) bundles: watch::Sender<Arc<BundleSet>>,
    pub(super) signer: watch::Sender<Option<Arc<Signer>>>,
    pub(super) view: watch::Sender<Arc<AuthorityView>>,
}

/// Owner of the ring.
pub(super) struct Keeper {
    pub(super) trust_domain: TrustDomain,
    pub(super) terms: Terms,
    pub(super) at_rest: AtRest,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keys: KeyRing,
    pub(super) x509: Arc<X509Ca>,
    pub(super) foreign: watch::Receiver<Arc<ForeignBundles>>,
    pub(super) published: Published,
    /// After a failure: when to try again.
    pub(super) not_before: Option<Instant>,
}

impl AtRest {
    /// The saved ring; `None` in a new store and where nothing is kept.
    pub(super) async fn load(&self, trust_domain: &TrustDomain) -> Result<Option<KeyRing>, AuthorityError> {
        let Some(record) = self.record.load().await.map_err(AuthorityError::Load)? else { return Ok(None) };
        let key = self.sealing_key.as_ref().ok_or(AuthorityError::State(sealed::StateError::NoSealingKey))?;
        let read = sealed::open(key, trust_domain, &record).and_then(|text| KeyRing::read(&text));
        read.map(Some).map_err(AuthorityError::State)
    }

    async fn save(&self, trust_domain: &TrustDomain, keys: &KeyRing) -> Result<(), AuthorityError> {
        let Some(key) = &self.sealing_key else { return Ok(()) };
        let record = sealed::seal(key, trust_domain, keys.write()?)?;
        self.record.save(record).await.map_err(AuthorityError::Save)
    }
}

impl Keeper {
    /// Keeps the ring until the agent drains or nobody is left who could ask.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>, drain: Drain) {
        loop {
            let request = tokio::select! {
                () = drain.requested() => return,
                () = tokio::time::sleep(self.pause()) => None,
                Ok(()) = self.foreign.changed() => {
                    self.publish();
                    continue;
                }
                request = requests.recv() => match request {
                    Some(request) => Some(request),
                    None => return,
                },
            };
            let (outcome, reply) = match request {
                None => (self.advance().await, None),
                Some(Request::Advance(reply)) => (self.advance().await, Some(reply)),
                Some(Request::Prepare(reply)) => (self.prepare_by_hand().await, Some(reply)),
                Some(Request::Activate(reply)) => (self.activate_by_hand().await, Some(reply)),
            };
            if let Some(reply) = reply {
                // Whoever asked may have gone; the change stands all the same.
                let _ = reply.send(outcome.map(|()| (**self.published.view.borrow()).clone()));
            }
        }
    }

    fn pause(&self) -> Duration {
        let until_due = life::pause(&self.keys.ring, self.clock.now(), &self.terms).unwrap_or(LONGEST_PAUSE);
        let until_retry = self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        until_due.max(until_retry).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// Does what is due. After a failure nothing is tried for a while: requests would
    /// otherwise turn a full disk into a busy one.
    ///
    /// # Errors
    /// Nothing was changed.
    pub(super) async fn advance(&mut self) -> Result<(), AuthorityError> {
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let outcome = self.take_due_steps().await;
        self.not_before = outcome.is_err().then(|| Instant::now() + PAUSE_AFTER_FAILURE);
        if let Err(error) = &outcome {
            let error = std::error::Error::source(error).map_or(error.to_string(), |cause| format!("{error}: {cause}"));
            tracing::error!(%error, "the signing keys could not be moved on; trying again");
        }
        outcome
    }

    async fn take_due_steps(&mut self) -> Result<(), AuthorityError> {
        let now = self.clock.now();
        let mut next = self.keys.clone();
        next.ring.adopt(&self.terms);
        for _ in 0..MAX_STEPS {
            let Some(step) = life::next_step(&next.ring, now, &self.terms) else { break };
            match step {
                Step::ClockWentBack => next.ring.rebase(now),
                Step::Prepare => next.prepare(generate(&self.terms).await?, now),
                Step::Activate => next.ring.activate(now, &self.terms),
                Step::Drop(kid) => next.drop_key(&kid),
            }
        }
        self.commit(next).await
    }

    async fn prepare_by_hand(&mut self) -> Result<(), AuthorityError> {
        // What is due comes first, so that a hand never works on a ring that is behind its clock.
        self.take_due_steps().await?;
        if let Some(prepared) = self.keys.ring.prepared() {
            return Err(AuthorityError::AlreadyPrepared { kid: prepared.kid.clone() });
        }
        let count = self.keys.ring.keys.len();
        if count >= MAX_KEYS_BY_HAND {
            return Err(AuthorityError::TooManyKeys { count });
        }
        let mut next = self.keys.clone();
        next.prepare(generate(&self.terms).await?, self.clock.now());
        self.commit(next).await
    }

    async fn activate_by_hand(&mut self) -> Result<(), AuthorityError> {
        self.take_due_steps().await?;
        let mut next = self.keys.clone();
        if next.ring.prepared().is_none() {
            return Err(AuthorityError::NothingPrepared);
        }
        next.ring.activate(self.clock.now(), &self.terms);
        self.commit(next).await
    }

    /// Saves the ring, then publishes it: the bundle first, so that a key is known before it signs.
    ///
    /// # Errors
    /// Nothing was changed.
    async fn commit(&mut self, mut next: KeyRing) -> Result<(), AuthorityError> {
        next.count_change_since(&self.keys);
        if next.ring != self.keys.ring {
            self.at_rest.save(&self.trust_domain, &next).await?;
            tracing::info!(
                sequence = next.ring.sequence,
                active = next.ring.active().map(|key| &*key.kid),
                keys = next.ring.keys.len(),
                "signing keys changed"
            );
            self.keys = next;
        }
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let own = self.keys.bundle(&self.trust_domain, &self.x509);
        let foreign = (**self.foreign.borrow_and_update()).clone();
        self.published.bundles.send_if_modified(|current| {
            let own = if *current.own == own { Arc::clone(&current.own) } else { Arc::new(own) };
            let set = BundleSet { own, foreign, tainted: BTreeSet::new() };
            let changed = **current != set;
            if changed {
                *current = Arc::new(set);
            }
            changed
        });
        self.published.signer.send_replace(self.keys.signer(&self.terms).map(Arc::new));
        self.published.view.send_replace(Arc::new(AuthorityView::of(&self.trust_domain, &self.keys.ring, &self.terms)));
    }
}

/// Makes a key on a thread that may block.
async fn generate(terms: &Terms) -> Result<JwtKey, AuthorityError> {
    let algorithm = terms.algorithm;
    let made = tokio::task::spawn_blocking(move || JwtKey::generate(algorithm)).await;
    made.unwrap_or(Err(AuthorityError::Crypto("make a key")))
}
