//! An agent over an authority that signs nothing real: it numbers its SVIDs, fails when told to, and
//! has the bundles and entries that it is given.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use countersign_common::bundle::{Bundle, BundleSet};
use countersign_common::entry::{EntryId, EntrySet};
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::JwtSvid;
use countersign_common::svid::x509::Certificate;

use super::*;
use crate::authority::{AuthorityError, SignedX509};
use crate::policy::X509Grant;

/// The subject key id of the X.509 authority that signs first.
pub(super) const FIRST_AUTHORITY: &str = "a1";

pub(super) struct Numbering {
    trust_domain: TrustDomain,
    entries: watch::Sender<Arc<EntrySet>>,
    bundles: watch::Sender<Arc<BundleSet>>,
    clock: Arc<Stepped>,
    /// Which X.509 authority signs.
    signs: Mutex<String>,
    pub(super) signed: AtomicU64,
    pub(super) fails: AtomicBool,
}

pub(super) struct FakeAgent {
    pub(super) identity: Arc<Identity>,
    pub(super) authority: Arc<Numbering>,
    pub(super) clock: Arc<Stepped>,
    pub(super) folder: tempfile::TempDir,
    _trigger: DrainTrigger,
}

#[async_trait]
impl Authority for Numbering {
    fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    fn entries(&self) -> watch::Receiver<Arc<EntrySet>> {
        self.entries.subscribe()
    }

    fn bundles(&self) -> watch::Receiver<Arc<BundleSet>> {
        self.bundles.subscribe()
    }

    async fn sign_jwt(&self, _: &Grant) -> Result<JwtSvid, AuthorityError> {
        panic!("not asked here")
    }

    async fn sign_x509(&self, grant: &X509Grant, _: &[u8]) -> Result<SignedX509, AuthorityError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(AuthorityError::NoActiveKey);
        }
        let number = self.signed.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        Ok(SignedX509 {
            chain: vec![Certificate::from_der(format!("leaf {number};").into_bytes())],
            not_before: Timestamp::from_seconds(now.seconds() - 30),
            not_after: now.after(grant.ttl()),
            serial: format!("{number:032x}"),
            authority: self.signs.lock().unwrap().clone(),
        })
    }
}

/// A bundle of a trust domain with X.509 authorities of these names, and no keys for JWT-SVIDs.
pub(super) fn bundle(trust_domain: &str, x509: &[&str]) -> Arc<Bundle> {
    let certificate = |name: &&str| Certificate::from_der(format!("{name};").into_bytes());
    Arc::new(Bundle {
        trust_domain: TrustDomain::parse(trust_domain).unwrap(),
        sequence: 1,
        refresh_hint: Duration::from_secs(300),
        jwt_authorities: vec![],
        x509_authorities: x509.iter().map(certificate).collect(),
    })
}

impl FakeAgent {
    pub(super) fn start(entries: &str) -> Self {
        let clock = Arc::new(Stepped(Mutex::new(NOON)));
        let (trigger, drain) = drain::channel();
        let set = BundleSet {
            own: bundle("example.org", &["root 1"]),
            foreign: Default::default(),
            tainted: BTreeSet::new(),
        };
        let authority = Arc::new(Numbering {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            entries: watch::Sender::new(set_of(1, parse_entries("test", entries, None).unwrap())),
            bundles: watch::Sender::new(Arc::new(set)),
            clock: clock.clone(),
            signs: Mutex::new(FIRST_AUTHORITY.to_owned()),
            signed: AtomicU64::new(0),
            fails: AtomicBool::new(false),
        });
        let folder = tempfile::tempdir().unwrap();
        let identity = Arc::new(identity(authority.clone(), clock.clone(), folder.path(), drain));
        Self { identity, authority, clock, folder, _trigger: trigger }
    }

    /// These are the entries from now on, each changed by `change` for what a file cannot say.
    pub(super) async fn apply_changed(&self, entries: &str, change: impl Fn(&mut Entry)) {
        let mut parsed = parse_entries("test", entries, None).unwrap();
        parsed.iter_mut().for_each(change);
        let revision = self.authority.entries.borrow().revision + 1;
        self.authority.entries.send_replace(set_of(revision, parsed));
        let mut registry = self.identity.registry.clone();
        registry.wait_for(|snapshot| snapshot.revision() == revision).await.unwrap();
    }

    pub(super) async fn apply(&self, entries: &str) {
        self.apply_changed(entries, |_| {}).await;
    }

    pub(super) fn change_bundles(&self, change: impl FnOnce(&mut BundleSet)) {
        self.authority.bundles.send_modify(|set| change(Arc::make_mut(set)));
    }

    pub(super) fn taint(&self, authority: &str) {
        self.change_bundles(|set| {
            set.tainted.insert(authority.to_owned());
        });
    }

    /// Another X.509 authority signs from now on.
    pub(super) fn sign_with(&self, authority: &str) {
        *self.authority.signs.lock().unwrap() = authority.to_owned();
    }

    pub(super) fn set_clock(&self, seconds: u64) {
        *self.clock.0.lock().unwrap() = seconds;
    }

    pub(super) async fn watch(&self) -> Result<MessageStream<X509Svids>, Refusal> {
        self.identity.watch_x509_svids(&Peer::of_this_process()).await
    }

    /// Its audit records so far.
    pub(super) fn audit(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn set_of(revision: u64, mut entries: Vec<Entry>) -> Arc<EntrySet> {
    entries.sort_by(|one, other| one.id.cmp(&other.id));
    Arc::new(EntrySet { revision, entries: entries.into_iter().map(Arc::new).collect() })
}

/// The next message of a stream, which has to come.
pub(super) async fn message<M>(stream: &mut MessageStream<M>) -> M {
    let next = tokio::time::timeout(Duration::from_secs(3600), stream.next()).await;
    next.expect("in time").expect("an open stream").unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// Sees that a stream goes on and says nothing, whatever timers go off in half an hour.
pub(super) async fn silence<M>(stream: &mut MessageStream<M>) {
    let next = tokio::time::timeout(Duration::from_secs(1800), stream.next()).await;
    assert!(next.is_err(), "{}", if next.unwrap().is_some_and(|next| next.is_ok()) { "a message" } else { "the end" });
}

/// How a stream ends.
pub(super) async fn end<M>(stream: &mut MessageStream<M>) -> Refusal {
    let next = tokio::time::timeout(Duration::from_secs(3600), stream.next()).await;
    match next.expect("in time").expect("a last word") {
        Ok(_) => panic!("another message"),
        Err(refusal) => refusal,
    }
}

pub(super) fn serials(message: &X509Svids) -> Vec<String> {
    message.svids.iter().map(|issued| issued.svid.serial.clone()).collect()
}

pub(super) fn entries(message: &X509Svids) -> Vec<&str> {
    message.svids.iter().map(|issued| EntryId::as_str(&issued.entry)).collect()
}
