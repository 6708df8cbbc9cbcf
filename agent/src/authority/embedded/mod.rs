//! The authority in this process: keys and their life, signing, checking.
//!
//! There are two rings of keys: JWT keys, and X.509 authorities. One task, the `keeper`, owns
//! both. It moves them on by the schedule of `life`, seals and saves them (`key_ring`, `form`,
//! `sealed`), and publishes the bundle and the active keys. Whoever signs takes the published key
//! (`signer`, `x509_leaf`) and needs no turn.

mod ca_key;
mod form;
mod jwt_key;
mod keeper;
mod key_file;
mod key_ring;
mod life;
mod pkcs11;
mod private_key;
mod record;
mod restored;
mod rings;
mod sealed;
mod sealing_key;
mod signer;
mod upstream;
mod view;
mod x509_check;
mod x509_key;
mod x509_leaf;

#[cfg(test)]
mod on_disk;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_common::bundle::BundleSet;
use countersign_common::clock::{Clock, Timestamp};
use countersign_common::entry::EntrySet;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::{Algorithm, JwtSvid};
use tokio::sync::{mpsc, oneshot, watch};

pub use key_file::{Fault, SecretSource};
pub use pkcs11::{Pkcs11Error, Pkcs11Source, Pkcs11Token};
pub use private_key::HeldIn;
pub use restored::restored_state;
pub use rings::{Kind, NameError};
pub use sealed::StateError;
pub use sealing_key::{SEALING_KEY_BYTES, SealingKey, SealingKeyError};
pub use upstream::{Upstream, UpstreamError, UpstreamFault, UpstreamSource};
pub use view::{AuthorityView, KeyState, KeyView, RingView};

use self::jwt_key::JwtKey;
use self::keeper::{AtRest, Keeper, Published, Reply, Request};
use self::key_ring::KeyRing;
use self::life::Terms;
use self::pkcs11::SIGNS_WITHIN;
use self::record::Make;
use self::rings::BothTerms;
use self::signer::Signer;
use self::x509_key::X509Key;
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
    /// What new JWT keys sign with: ES256 or RS256.
    pub algorithm: Algorithm,
    /// How long a JWT key signs before the next one takes over; at least `max_jwt_ttl`.
    pub key_life: Duration,
    /// Longest life of a JWT-SVID; a key's end comes this much later than its last signature.
    pub max_jwt_ttl: Duration,
    /// How long an X.509 authority signs before the next one takes over; at least `max_x509_ttl`.
    pub x509_key_life: Duration,
    /// Longest life of an X509-SVID; an authority's certificate is valid this much longer than it signs.
    pub max_x509_ttl: Duration,
    /// What signs the certificates of X.509 authorities; each signs its own if `None`.
    pub upstream: Option<Arc<Upstream>>,
    /// Where the private halves of new keys are; in the sealed state if `None`.
    pub token: Option<Arc<Pkcs11Token>>,
    /// How often others should look at the bundle; the next key is published five times as long ahead.
    pub refresh_hint: Duration,
    /// The `iss` claim, where the operator set an issuer URL.
    pub issuer: Option<String>,
}

impl Options {
    fn terms(&self) -> Result<BothTerms, AuthorityError> {
        let second = Duration::from_secs(1);
        if !matches!(self.algorithm, Algorithm::Es256 | Algorithm::Rs256) {
            return Err(AuthorityError::Options("JWT-SVIDs are signed with ES256 or RS256"));
        }
        if self.max_jwt_ttl.min(self.max_x509_ttl).min(self.refresh_hint) < second {
            return Err(AuthorityError::Options("the longest lives and the refresh hint are at least one second"));
        }
        if self.key_life < self.max_jwt_ttl || self.x509_key_life < self.max_x509_ttl {
            return Err(AuthorityError::Options("a key's life is at least the longest life of what it signs"));
        }
        let refresh_hint = self.refresh_hint;
        let (make, key_life, max_ttl) = (Make::Jwt(self.algorithm), self.key_life, self.max_jwt_ttl);
        let held_in = if self.token.is_some() { HeldIn::Pkcs11 } else { HeldIn::State };
        let jwt = Terms { make, held_in, key_life, max_ttl, refresh_hint, issuer_ends: None };
        let upstream = self.upstream.as_deref();
        let x509 = Terms {
            make: upstream.map_or(Make::SelfSigned, |upstream| upstream.make().clone()),
            held_in,
            key_life: self.x509_key_life,
            max_ttl: self.max_x509_ttl,
            refresh_hint,
            issuer_ends: upstream.map(|upstream| upstream.validity().until),
        };
        Ok(BothTerms { jwt, x509, refresh_hint })
    }
}

/// The active key of one kind, as the keeper publishes it.
type Signers<K> = watch::Receiver<Option<Arc<Signer<K>>>>;

/// The authority in this process.
pub struct EmbeddedAuthority {
    trust_domain: TrustDomain,
    issuer: Option<String>,
    clock: Arc<dyn Clock>,
    entries: watch::Receiver<Arc<EntrySet>>,
    bundles: watch::Receiver<Arc<BundleSet>>,
    jwt: Signers<JwtKey>,
    x509: Signers<X509Key>,
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
        let Options { trust_domain, issuer, upstream, token, .. } = options;
        let saved = match at_rest.load(&trust_domain, token.clone()).await {
            Err(_) if Protection::Whole.is_out() => None,
            loaded => loaded?,
        };
        let keys = saved.unwrap_or_else(|| KeyRing::begin(clock.now(), &terms));

        let own = Arc::new(keys.bundle(&trust_domain));
        let set = BundleSet { own, foreign: (**foreign.borrow()).clone(), tainted: keys.rings.tainted() };
        let (bundle_sender, bundles) = watch::channel(Arc::new(set));
        let (jwt_sender, jwt) = watch::channel(None);
        let (x509_sender, x509) = watch::channel(None);
        let first_view = AuthorityView::of(&trust_domain, &keys.rings, &terms);
        let (view_sender, view) = watch::channel(Arc::new(first_view));
        let published = Published { bundles: bundle_sender, jwt: jwt_sender, x509: x509_sender, view: view_sender };

        let mut keeper = Keeper {
            trust_domain: trust_domain.clone(),
            terms,
            upstream,
            token,
            at_rest,
            clock: Arc::clone(&clock),
            keys,
            foreign,
            published,
            not_before: None,
        };
        let before = keeper.keys.in_token();
        keeper.advance().await?;
        keeper.tidy_token(before).await;
        let (requests, queue) = mpsc::channel(keeper::QUEUE);
        tokio::spawn(keeper.run(queue, drain));
        Ok(Arc::new(Self { trust_domain, issuer, clock, entries, bundles, jwt, x509, view, requests }))
    }

    /// Keys with their states and times, the bundle's sequence, the next rotation.
    pub async fn show(&self) -> AuthorityView {
        (**self.view.borrow()).clone()
    }

    /// Makes the next key of each of these kinds and publishes it; it signs nothing yet. All or none.
    ///
    /// # Errors
    /// One is prepared already, too many are published, or the change cannot be saved.
    pub async fn prepare(&self, kinds: &'static [Kind]) -> Result<AuthorityView, AuthorityError> {
        self.ask(|reply| Request::Prepare(kinds, reply)).await
    }

    /// Signs with the prepared key of each of these kinds from now on. The key before it stays
    /// published until its last document has expired. All or none.
    ///
    /// # Errors
    /// None is prepared, or the change cannot be saved.
    pub async fn activate(&self, kinds: &'static [Kind]) -> Result<AuthorityView, AuthorityError> {
        self.ask(|reply| Request::Activate(kinds, reply)).await
    }

    /// Has a key that signs or signed never sign again, and what it signed replaced: its name is
    /// among the tainted ones of [`bundles`](Authority::bundles) from now on. If it is the active
    /// one, another one takes over at once. `id` is its name, or how that begins.
    ///
    /// # Errors
    /// There is no such key, it never signed, or the change cannot be saved.
    pub async fn taint(&self, id: String) -> Result<AuthorityView, AuthorityError> {
        self.ask(|reply| Request::Taint(id, reply)).await
    }

    /// Publishes a key no more, so that whatever it signed is refused from now on. `id` is its
    /// name, or how that begins.
    ///
    /// # Errors
    /// There is no such key, it is the active one, or the change cannot be saved.
    pub async fn revoke(&self, id: String) -> Result<AuthorityView, AuthorityError> {
        self.ask(|reply| Request::Revoke(id, reply)).await
    }

    /// The whole name of the key that an operator means by `given`: a name, or how one begins, in 8
    /// characters or more. A subject key id may have capitals and colons.
    ///
    /// # Errors
    /// None, or more than one.
    pub fn named(&self, given: &str) -> Result<String, NameError> {
        rings::named(self.view.borrow().names(), given).map(|(_, id)| id)
    }

    async fn ask(&self, request: impl FnOnce(Reply) -> Request) -> Result<AuthorityView, AuthorityError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| AuthorityError::Stopped)?;
        answer.await.map_err(|_| AuthorityError::Stopped)?
    }

    /// The key to sign with, and the present moment. After a jump of the clock, or a sleep
    /// of the machine, the schedule may be behind: it is moved on first.
    async fn signer_and_now<K>(&self, signers: &Signers<K>) -> Result<(Arc<Signer<K>>, Timestamp), AuthorityError> {
        let latest = || signers.borrow().clone();
        let now = self.clock.now();
        if let Some(signer) = latest().filter(|signer| signer.is_in_its_time(now)) {
            return Ok((signer, now));
        }
        // A keeper that cannot move on, or has stopped with the agent, leaves the old key good until its end.
        let _ = self.ask(Request::Advance).await;
        let now = self.clock.now();
        let signer = latest().filter(|signer| signer.may_sign(now)).ok_or(AuthorityError::NoActiveKey)?;
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
        let (signer, now) = self.signer_and_now(&self.jwt).await?;
        let Some(token) = signer.key.token_key().map(|key| Arc::clone(key.token())) else {
            return signer.sign(grant, self.issuer.as_deref(), now);
        };
        let (grant, issuer) = (grant.clone(), self.issuer.clone());
        token.within(SIGNS_WITHIN, move || signer.sign(&grant, issuer.as_deref(), now)).await
    }

    async fn sign_x509(&self, grant: &X509Grant, public_key: &[u8]) -> Result<SignedX509, AuthorityError> {
        let (signer, now) = self.signer_and_now(&self.x509).await?;
        let Some(token) = signer.key.token_key().map(|key| Arc::clone(key.token())) else {
            return signer.sign(grant, public_key, now);
        };
        let (grant, public_key) = (grant.clone(), public_key.to_vec());
        token.within(SIGNS_WITHIN, move || signer.sign(&grant, &public_key, now)).await
    }
}
