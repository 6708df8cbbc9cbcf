//! The authority in this process: keys and their life, signing, checking.
//!
//! One task, the `keeper`, owns the ring of keys. It moves the ring on by the schedule
//! of `life`, seals and saves it (`key_ring`, `sealed`), and publishes the bundle and the
//! active key. Whoever signs takes the published key (`signer`) and needs no turn.

mod jwt_key;
mod keeper;
mod key_ring;
mod life;
mod restored;
mod sealed;
mod sealing_key;
mod signer;
mod view;
mod x509_ca;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_common::bundle::BundleSet;
use countersign_common::clock::{Clock, Timestamp};
use countersign_common::entry::EntrySet;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::{Algorithm, JwtSvid};
use tokio::sync::{mpsc, oneshot, watch};

pub use restored::restored_state;
pub use sealed::StateError;
pub use sealing_key::{SEALING_KEY_BYTES, SealingKey, SealingKeyError, SealingKeySource};
pub use view::{AuthorityView, KeyState, KeyView};

use self::keeper::{AtRest, Keeper, Published, Reply, Request};
use self::key_ring::KeyRing;
use self::life::Terms;
use self::signer::Signer;
use self::x509_ca::X509Ca;
use super::{Authority, AuthorityError, SignedX509};
use crate::drain::Drain;
use crate::policy::{Grant, X509Grant};
use crate::store::{ForeignBundles, Store};
use crate::weakened::Protection;

/// What the operator decided about the authority.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose authority it is.
    pub trust_domain: TrustDomain,
    /// What new keys sign with: ES256 or RS256.
    pub algorithm: Algorithm,
    /// How long a key signs before the next one takes over; at least `max_jwt_ttl`.
    pub key_life: Duration,
    /// Longest life of a JWT-SVID; a key's end comes this much later than its last signature.
    pub max_jwt_ttl: Duration,
    /// How often others should look at the bundle; the next key is published five times as long ahead.
    pub refresh_hint: Duration,
    /// The `iss` claim, where the operator set an issuer URL.
    pub issuer: Option<String>,
}

impl Options {
    fn terms(&self) -> Result<Terms, AuthorityError> {
        let second = Duration::from_secs(1);
        if !matches!(self.algorithm, Algorithm::Es256 | Algorithm::Rs256) {
            return Err(AuthorityError::Options("JWT-SVIDs are signed with ES256 or RS256"));
        }
        if self.max_jwt_ttl < second || self.refresh_hint < second {
            return Err(AuthorityError::Options("the longest token life and the refresh hint are at least one second"));
        }
        if self.key_life < self.max_jwt_ttl {
            return Err(AuthorityError::Options("a key's life is at least the longest token life"));
        }
        let Self { algorithm, key_life, max_jwt_ttl, refresh_hint, .. } = *self;
        Ok(Terms { algorithm, key_life, max_jwt_ttl, refresh_hint })
    }
}

/// The authority in this process.
pub struct EmbeddedAuthority {
    trust_domain: TrustDomain,
    issuer: Option<String>,
    clock: Arc<dyn Clock>,
    entries: watch::Receiver<Arc<EntrySet>>,
    bundles: watch::Receiver<Arc<BundleSet>>,
    x509: Arc<X509Ca>,
    signer: watch::Receiver<Option<Arc<Signer>>>,
    view: watch::Receiver<Arc<AuthorityView>>,
    requests: mpsc::Sender<Request>,
}

impl EmbeddedAuthority {
    /// Opens the saved state, or begins with a first key in a new store, and keeps the
    /// keys from then on until `drain`. An active key exists when this returns.
    ///
    /// Without a sealing key nothing is saved and all keys end with the process.
    ///
    /// # Errors
    /// The options are unfit, or the saved state cannot be read, opened or saved. State
    /// that is there and cannot be opened is never replaced.
    pub async fn start(
        store: Store,
        sealing_key: Option<SealingKey>,
        options: Options,
        clock: Arc<dyn Clock>,
        drain: Drain,
    ) -> Result<Arc<Self>, AuthorityError> {
        let (entries, foreign) = (store.entries(), store.foreign_bundles());
        let at_rest = AtRest { record: Arc::new(store), sealing_key };
        Self::start_with(at_rest, entries, foreign, options, clock, drain).await
    }

    async fn start_with(
        at_rest: AtRest,
        entries: watch::Receiver<Arc<EntrySet>>,
        foreign: watch::Receiver<Arc<ForeignBundles>>,
        options: Options,
        clock: Arc<dyn Clock>,
        drain: Drain,
    ) -> Result<Arc<Self>, AuthorityError> {
        let terms = options.terms()?;
        let Options { trust_domain, issuer, .. } = options;
        let saved = match at_rest.load(&trust_domain).await {
            Err(_) if Protection::Whole.is_out() => None,
            loaded => loaded?,
        };
        let keys = saved.unwrap_or_else(|| KeyRing::begin(clock.now(), &terms));

        let x509 = Arc::new(X509Ca::make(&trust_domain, clock.now())?);
        let own = Arc::new(keys.bundle(&trust_domain, &x509));
        let set = BundleSet { own, foreign: (**foreign.borrow()).clone(), tainted: BTreeSet::new() };
        let (bundle_sender, bundles) = watch::channel(Arc::new(set));
        let (signer_sender, signer) = watch::channel(None);
        let first_view = AuthorityView::of(&trust_domain, &keys.ring, &terms);
        let (view_sender, view) = watch::channel(Arc::new(first_view));
        let published = Published { bundles: bundle_sender, signer: signer_sender, view: view_sender };

        let mut keeper = Keeper {
            trust_domain: trust_domain.clone(),
            terms,
            at_rest,
            clock: Arc::clone(&clock),
            keys,
            x509: Arc::clone(&x509),
            foreign,
            published,
            not_before: None,
        };
        keeper.advance().await?;
        let (requests, queue) = mpsc::channel(keeper::QUEUE);
        tokio::spawn(keeper.run(queue, drain));
        Ok(Arc::new(Self { trust_domain, issuer, clock, entries, bundles, x509, signer, view, requests }))
    }

    /// Keys with their states and times, the bundle's sequence, the next rotation.
    pub async fn show(&self) -> AuthorityView {
        (**self.view.borrow()).clone()
    }

    /// Makes the next key and publishes it; it signs nothing yet.
    ///
    /// # Errors
    /// One is prepared already, too many are published, or the change cannot be saved.
    pub async fn prepare(&self) -> Result<AuthorityView, AuthorityError> {
        self.ask(Request::Prepare).await
    }

    /// Signs with the prepared key from now on. The key before it stays published until
    /// its last token has expired.
    ///
    /// # Errors
    /// None is prepared, or the change cannot be saved.
    pub async fn activate(&self) -> Result<AuthorityView, AuthorityError> {
        self.ask(Request::Activate).await
    }

    async fn ask(&self, request: impl FnOnce(Reply) -> Request) -> Result<AuthorityView, AuthorityError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| AuthorityError::Stopped)?;
        answer.await.map_err(|_| AuthorityError::Stopped)?
    }

    fn signer_now(&self) -> Option<Arc<Signer>> {
        self.signer.borrow().clone()
    }

    /// The key to sign with, and the present moment. After a jump of the clock, or a sleep
    /// of the machine, the schedule may be behind: it is moved on first.
    async fn signer_and_now(&self) -> Result<(Arc<Signer>, Timestamp), AuthorityError> {
        let now = self.clock.now();
        if let Some(signer) = self.signer_now().filter(|signer| signer.is_in_its_time(now)) {
            return Ok((signer, now));
        }
        // A keeper that cannot move on, or has stopped with the agent, leaves the old key good until its end.
        let _ = self.ask(Request::Advance).await;
        let now = self.clock.now();
        let signer = self.signer_now().filter(|signer| signer.may_sign(now)).ok_or(AuthorityError::NoActiveKey)?;
        Ok((signer, now))
    }
}

#[async_trait]
impl Authority for EmbeddedAuthority {
    fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    fn entries(&self) -> watch::Receiver<Arc<EntrySet>> {
        self.entries.clone()
    }

    fn bundles(&self) -> watch::Receiver<Arc<BundleSet>> {
        self.bundles.clone()
    }

    async fn sign_jwt(&self, grant: &Grant) -> Result<JwtSvid, AuthorityError> {
        let (signer, now) = self.signer_and_now().await?;
        signer.sign(grant, self.issuer.as_deref(), now)
    }

    async fn sign_x509(&self, grant: &X509Grant, public_key: &[u8]) -> Result<SignedX509, AuthorityError> {
        self.x509.sign(grant, public_key, self.clock.now())
    }
}
