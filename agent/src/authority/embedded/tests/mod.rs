//! The authority as a whole: a stepped clock, a record in memory that can be made to
//! fail, real keys.

mod at_rest;
mod by_hand;
mod rotation;
mod signing;
mod under_a_root;
mod x509;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use countersign_common::bundle::Bundle;
use countersign_common::entry::EntryId;
use countersign_common::spiffe_id::SpiffeId;
use countersign_common::svid::jwt::validate;

use super::keeper::StateRecord;
use super::*;
use crate::drain::{self, DrainTrigger};
use crate::policy::grant_for_tests;
use crate::store::StoreError;

const START: u64 = 1_800_000_000;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A clock that goes where it is sent.
struct SteppedClock(AtomicU64);

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.load(Ordering::SeqCst))
    }
}

impl SteppedClock {
    fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    fn back(&self, by: Duration) {
        self.0.fetch_sub(by.as_secs(), Ordering::SeqCst);
    }
}

/// A record in memory; a full disk when told so.
#[derive(Default)]
struct FakeRecord {
    saved: Mutex<Option<Vec<u8>>>,
    full: AtomicBool,
}

#[async_trait]
impl StateRecord for FakeRecord {
    async fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.saved.lock().unwrap().clone())
    }

    async fn save(&self, sealed: Vec<u8>) -> Result<(), StoreError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::NoSuchEntry(EntryId::parse("full").unwrap()));
        }
        *self.saved.lock().unwrap() = Some(sealed);
        Ok(())
    }
}

/// One machine: its clock, its disk, its sealing key.
struct Machine {
    clock: Arc<SteppedClock>,
    record: Arc<FakeRecord>,
    sealing_key: Option<SealingKey>,
    options: Options,
}

impl Machine {
    fn new() -> Self {
        let options = Options {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            algorithm: Algorithm::Es256,
            key_life: 24 * HOUR,
            max_jwt_ttl: HOUR,
            x509_key_life: 7 * 24 * HOUR,
            max_x509_ttl: 24 * HOUR,
            upstream: None,
            token: None,
            refresh_hint: 5 * MINUTE,
            issuer: None,
        };
        Self {
            clock: Arc::new(SteppedClock(AtomicU64::new(START))),
            record: Arc::default(),
            sealing_key: Some(SealingKey::from_bytes([7; 32])),
            options,
        }
    }

    /// Starts the agent's authority; dropping what it returns is a crash.
    async fn start(&self) -> Result<Running, AuthorityError> {
        let (trigger, drain) = drain::channel();
        let (_, entries) = watch::channel(Arc::default());
        let record: Arc<dyn StateRecord> = Arc::clone(&self.record) as _;
        let at_rest = AtRest { record, sealing_key: self.sealing_key.clone() };
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let authority = EmbeddedAuthority::start_with(
            at_rest,
            entries,
            watch::channel(Arc::default()).1,
            self.options.clone(),
            clock,
            drain,
        )
        .await?;
        Ok(Running { authority, trigger })
    }

    async fn refusal(&self) -> AuthorityError {
        self.start().await.err().expect("a refusal")
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

struct Running {
    authority: Arc<EmbeddedAuthority>,
    trigger: DrainTrigger,
}

impl Running {
    async fn sign(&self) -> Result<JwtSvid, AuthorityError> {
        self.authority.sign_jwt(&grant(5 * MINUTE, None)).await
    }

    fn bundle(&self) -> Arc<Bundle> {
        Arc::clone(&self.authority.bundles().borrow().own)
    }

    /// Keys and what they are doing, oldest first.
    async fn states(&self) -> Vec<KeyState> {
        self.authority.show().await.jwt.keys.into_iter().map(|key| key.state).collect()
    }
}

/// Lets the keeper's own timer come round once; paused time runs ahead while all wait.
async fn the_keeper_wakes(agent: &Running) {
    let mut view = agent.authority.view.clone();
    view.mark_unchanged();
    tokio::time::timeout(2 * MINUTE, view.changed()).await.expect("the keeper wakes within a minute").unwrap();
}

fn grant(ttl: Duration, not_after: Option<Timestamp>) -> Grant {
    let id = SpiffeId::parse("spiffe://example.org/orders/api").unwrap();
    grant_for_tests(id, vec!["billing".into()], ttl, not_after)
}

/// Whether a verifier that holds `bundle` accepts the token at `now`.
fn is_valid(svid: &JwtSvid, bundle: &Bundle, now: Timestamp) -> bool {
    validate(svid.token.expose(), "billing", now, |_| Some(bundle)).is_ok()
}
