//! The task that owns the key ring. Everything that changes it comes through here: the
//! clock, and operators. A change is saved first and published second, so that no key
//! signs that a restart would not know.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_common::bundle::BundleSet;
use countersign_common::clock::{Clock, Timestamp};
use countersign_common::spiffe_id::TrustDomain;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::form;
use super::jwt_key::JwtKey;
use super::key_ring::{KeyRing, NewKey};
use super::life::{self, Step};
use super::pkcs11::{KeyId, MAKES_WITHIN, Pkcs11Key, Pkcs11Token};
use super::record::Make;
use super::rings::{BothTerms, Kind};
use super::sealed::{self, StateError};
use super::sealing_key::SealingKey;
use super::signer::Signer;
use super::upstream::Upstream;
use super::view::AuthorityView;
use super::x509_key::X509Key;
use crate::authority::AuthorityError;
use crate::drain::Drain;
use crate::store::{ForeignBundles, Store, StoreError};

mod by_hand;

/// How many requests wait for the keeper before callers wait to ask.
pub(super) const QUEUE: usize = 16;

/// The longest sleep. The runtime's timers stand still while the machine is suspended,
/// so that "in six hours" may be days away: the clock is looked at again and again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The shortest sleep, for a step that is due at once.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// How long nothing is tried after a failure, whoever asks.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// More steps than any state of a ring needs.
const MAX_STEPS: usize = 64;

/// Where the answer to a request goes.
pub(super) type Reply = oneshot::Sender<Result<AuthorityView, AuthorityError>>;

/// Everything that can be asked of the keeper.
pub(super) enum Request {
    /// Do what is due.
    Advance(Reply),
    /// Publish the next key of each of these kinds, now.
    Prepare(&'static [Kind], Reply),
    /// Sign with the prepared key of each of these kinds, now.
    Activate(&'static [Kind], Reply),
    /// Never sign with the key of this name again, and have what it signed replaced.
    Taint(String, Reply),
    /// Publish the key of this name no more.
    Revoke(String, Reply),
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
    pub(super) jwt: watch::Sender<Option<Arc<Signer<JwtKey>>>>,
    pub(super) x509: watch::Sender<Option<Arc<Signer<X509Key>>>>,
    pub(super) view: watch::Sender<Arc<AuthorityView>>,
}

/// Owner of the rings.
pub(super) struct Keeper {
    pub(super) trust_domain: TrustDomain,
    pub(super) terms: BothTerms,
    pub(super) upstream: Option<Arc<Upstream>>,
    /// Where new keys are made and kept, if not in the state.
    pub(super) token: Option<Arc<Pkcs11Token>>,
    pub(super) at_rest: AtRest,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keys: KeyRing,
    pub(super) foreign: watch::Receiver<Arc<ForeignBundles>>,
    pub(super) published: Published,
    /// After a failure: when to try again.
    pub(super) not_before: Option<Instant>,
}

impl AtRest {
    /// The saved ring; `None` in a new store and where nothing is kept.
    pub(super) async fn load(
        &self,
        trust_domain: &TrustDomain,
        token: Option<Arc<Pkcs11Token>>,
    ) -> Result<Option<KeyRing>, AuthorityError> {
        let Some(record) = self.record.load().await.map_err(AuthorityError::Load)? else { return Ok(None) };
        let key = self.sealing_key.as_ref().ok_or(AuthorityError::State(StateError::NoSealingKey))?;
        let (form, text) = sealed::open(key, trust_domain, &record).map_err(AuthorityError::State)?;
        // A token blocks.
        let read = tokio::task::spawn_blocking(move || form::read(form, &text, token.as_ref())).await;
        read.map_err(|_| AuthorityError::Stopped)?.map(Some).map_err(AuthorityError::State)
    }

    async fn save(&self, trust_domain: &TrustDomain, keys: &KeyRing) -> Result<(), AuthorityError> {
        let Some(key) = &self.sealing_key else { return Ok(()) };
        let record = sealed::seal(key, trust_domain, form::write(keys)?)?;
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
            let before = self.keys.in_token();
            let (outcome, reply) = match request {
                None => (self.advance().await, None),
                Some(Request::Advance(reply)) => (self.advance().await, Some(reply)),
                Some(Request::Prepare(kinds, reply)) => (self.prepare_by_hand(kinds).await, Some(reply)),
                Some(Request::Activate(kinds, reply)) => (self.activate_by_hand(kinds).await, Some(reply)),
                Some(Request::Taint(id, reply)) => (self.taint_by_hand(&id).await, Some(reply)),
                Some(Request::Revoke(id, reply)) => (self.revoke_by_hand(&id).await, Some(reply)),
            };
            self.tidy_token(before).await;
            if let Some(reply) = reply {
                // Whoever asked may have gone; the change stands all the same.
                let _ = reply.send(outcome.map(|()| (**self.published.view.borrow()).clone()));
            }
        }
    }

    fn pause(&self) -> Duration {
        let now = self.clock.now();
        let of = |kind| life::pause(self.keys.rings.of(kind), now, self.terms.of(kind));
        let until_due = Kind::ALL.into_iter().filter_map(of).min().unwrap_or(LONGEST_PAUSE);
        let until_retry = self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        until_due.max(until_retry).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// Does what is due. After a failure nothing is tried for a while: requests would
    /// otherwise turn a full disk into a busy one.
    ///
    /// # Errors
    /// Not everything that is due was done.
    pub(super) async fn advance(&mut self) -> Result<(), AuthorityError> {
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let outcome = self.take_due_steps(&Kind::ALL).await;
        self.not_before = outcome.is_err().then(|| Instant::now() + PAUSE_AFTER_FAILURE);
        if let Err(error) = &outcome {
            let error = std::error::Error::source(error).map_or(error.to_string(), |cause| format!("{error}: {cause}"));
            tracing::error!(%error, "the signing keys could not be moved on; trying again");
        }
        outcome
    }

    /// Takes the steps that are due in the rings of these kinds. One that cannot move on does not
    /// keep the other from it.
    async fn take_due_steps(&mut self, kinds: &[Kind]) -> Result<(), AuthorityError> {
        let now = self.clock.now();
        let mut next = self.keys.clone();
        next.rings.adopt(&self.terms);
        let mut failure = None;
        for kind in kinds {
            let mut moved = next.clone();
            match self.settle(&mut moved, *kind, now).await {
                Ok(()) => next = moved,
                Err(error) => failure = Some(error),
            }
        }
        self.commit(next).await?;
        failure.map_or(Ok(()), Err)
    }

    async fn settle(&self, keys: &mut KeyRing, kind: Kind, now: Timestamp) -> Result<(), AuthorityError> {
        let terms = self.terms.of(kind);
        for _ in 0..MAX_STEPS {
            let Some(step) = life::next_step(keys.rings.of(kind), now, terms) else { break };
            match step {
                Step::ClockWentBack => keys.rings.of_mut(kind).rebase(now),
                Step::Prepare => {
                    let key = self.make(keys, kind, now).await?;
                    keys.prepare(key, now);
                }
                Step::Activate => keys.rings.of_mut(kind).activate(now, terms),
                Step::Drop(id) => keys.drop_key(kind, &id),
            }
        }
        Ok(())
    }

    /// Makes the next key of a kind on a thread that may block.
    async fn make(&self, keys: &KeyRing, kind: Kind, now: Timestamp) -> Result<NewKey, AuthorityError> {
        let terms = self.terms.of(kind);
        let (domain, upstream, token) = (self.trust_domain.clone(), self.upstream.clone(), self.token.clone());
        let wanted = keys.rings.of(kind).validity_of_next(now, terms);
        let make = terms.make.clone();
        let in_token = self.token.clone();
        let work = move || match make {
            Make::Jwt(algorithm) => JwtKey::generate(algorithm, token.as_ref()).map(NewKey::Jwt),
            _ => X509Key::generate(&domain, upstream.as_deref(), wanted, token.as_ref()).map(NewKey::X509),
        };
        match in_token {
            Some(token) => token.within(MAKES_WITHIN, work).await,
            None => on_a_thread(work).await,
        }
    }

    /// After a change, or an attempt at one: what was in the token before and is not saved any more is
    /// destroyed there. One that stays, because the token cannot be reached, signs nothing.
    pub(super) async fn tidy_token(&self, before: BTreeMap<KeyId, Pkcs11Key>) {
        let now = self.keys.in_token();
        if let Some(token) = &self.token {
            token.change_is_over(|id| now.contains_key(&id));
        }
        for (id, key) in before.into_iter().filter(|(id, _)| !now.contains_key(id)) {
            let token = Arc::clone(key.token());
            match token.within(MAKES_WITHIN, move || key.destroy().map_err(AuthorityError::Pkcs11)).await {
                Ok(()) => tracing::info!(cka_id = %id, "a key that is done was destroyed in its token"),
                Err(error) => {
                    tracing::warn!(cka_id = %id, %error, "a key that is done stays in its token; destroy it there");
                }
            }
        }
    }

    /// Saves the rings, then publishes them: the bundle first, so that a key is known before it signs.
    ///
    /// # Errors
    /// Nothing was changed.
    async fn commit(&mut self, mut next: KeyRing) -> Result<(), AuthorityError> {
        next.rings.count_change_since(&self.keys.rings);
        if next.rings != self.keys.rings {
            self.at_rest.save(&self.trust_domain, &next).await?;
            let [jwt, x509] = Kind::ALL.map(|kind| next.rings.of(kind).active().map(|key| key.id.clone()));
            let keys = next.rings.jwt.keys.len() + next.rings.x509.keys.len();
            tracing::info!(
                sequence = next.rings.sequence,
                active = jwt,
                authority = x509,
                keys,
                "signing keys changed"
            );
            self.keys = next;
        }
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let own = self.keys.bundle(&self.trust_domain);
        let foreign = (**self.foreign.borrow_and_update()).clone();
        let tainted = self.keys.rings.tainted();
        // Whoever asks for something new because of a taint must not get it from the same key.
        withdraw(&self.published.jwt, |key| tainted.contains(key.kid()));
        withdraw(&self.published.x509, |key| tainted.contains(key.id()));
        self.published.bundles.send_if_modified(|current| {
            let own = if *current.own == own { Arc::clone(&current.own) } else { Arc::new(own) };
            let set = BundleSet { own, foreign, tainted };
            let changed = **current != set;
            if changed {
                *current = Arc::new(set);
            }
            changed
        });
        self.published.jwt.send_replace(self.keys.jwt_signer(&self.terms).map(Arc::new));
        self.published.x509.send_replace(self.keys.x509_signer(&self.terms).map(Arc::new));
        let view = AuthorityView::of(&self.trust_domain, &self.keys.rings, &self.terms);
        self.published.view.send_replace(Arc::new(view));
    }
}

/// On a thread that may take its time. Where the kernel refuses one, the runtime panics, which must not
/// end the keeper.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuthorityError> + Send + 'static,
) -> Result<T, AuthorityError> {
    let started = catch_unwind(AssertUnwindSafe(|| tokio::task::spawn_blocking(work)));
    let making = started.map_err(|_| AuthorityError::Thread)?;
    making.await.unwrap_or(Err(AuthorityError::Crypto("make a key")))
}

/// Takes a key back that is not to sign any more; who wants to sign waits for the next one.
fn withdraw<K>(published: &watch::Sender<Option<Arc<Signer<K>>>>, is_bad: impl Fn(&K) -> bool) {
    published.send_if_modified(|signer| signer.take_if(|signer| is_bad(&signer.key)).is_some());
}
