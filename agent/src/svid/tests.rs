//! Reuse and renewal of tokens, with a stepped clock and an authority that can fail.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use countersign_common::bundle::{Bundle, BundleSet, Curve, JwtAuthority, PublicKey};
use countersign_common::entry::EntrySet;
use countersign_common::secret::BearerToken;
use countersign_common::spiffe_id::{SpiffeId, TrustDomain};
use countersign_common::svid::jwt::Claims;
use tokio::sync::watch;

use super::*;
use crate::authority::SignedX509;
use crate::policy::{X509Grant, grant_for_tests};

/// Signs nothing real: numbers its tokens, or fails.
struct Numbering {
    bundles: watch::Sender<Arc<BundleSet>>,
    now: Mutex<u64>,
    signed: AtomicU64,
    fails: AtomicBool,
    /// How long a signature takes, in seconds.
    takes: AtomicU64,
}

#[async_trait]
impl Authority for Numbering {
    fn trust_domain(&self) -> &TrustDomain {
        panic!("not asked by the cache")
    }

    fn entries(&self) -> watch::Receiver<Arc<EntrySet>> {
        panic!("not asked by the cache")
    }

    fn bundles(&self) -> watch::Receiver<Arc<BundleSet>> {
        self.bundles.subscribe()
    }

    async fn sign_x509(&self, _: &X509Grant, _: &[u8]) -> Result<SignedX509, AuthorityError> {
        panic!("not asked by the cache")
    }

    async fn sign_jwt(&self, grant: &Grant) -> Result<JwtSvid, AuthorityError> {
        // Others get a turn, as they do while a real signature is made.
        tokio::task::yield_now().await;
        *self.now.lock().unwrap() += self.takes.load(Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return Err(AuthorityError::NoActiveKey);
        }
        let jti = self.signed.fetch_add(1, Ordering::Relaxed).to_string();
        let iat = Timestamp::from_seconds(*self.now.lock().unwrap());
        let claims = Claims {
            sub: grant.spiffe_id().clone(),
            aud: grant.audiences().to_vec(),
            iat,
            nbf: iat,
            exp: iat.after(grant.ttl()),
            jti,
            iss: None,
        };
        Ok(JwtSvid { token: BearerToken::new(String::new()), claims, kid: "key".to_owned() })
    }
}

/// A bundle with the key that signs, and these that are tainted.
fn bundles<const N: usize>(tainted: [&str; N]) -> BundleSet {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let own = Bundle {
        trust_domain,
        sequence: 1,
        refresh_hint: Duration::from_secs(300),
        jwt_authorities: vec![JwtAuthority {
            kid: "key".to_owned(),
            algorithm: None,
            key: PublicKey::Ec { curve: Curve::P256, point: vec![] },
        }],
        x509_authorities: vec![],
    };
    BundleSet { own: Arc::new(own), foreign: BTreeMap::new(), tainted: tainted.map(str::to_owned).into() }
}

fn cache() -> (Arc<Numbering>, Arc<JwtCache>) {
    let authority = Arc::new(Numbering {
        bundles: watch::channel(Arc::new(bundles([]))).0,
        now: Mutex::default(),
        signed: AtomicU64::default(),
        fails: AtomicBool::default(),
        takes: AtomicU64::default(),
    });
    (Arc::clone(&authority), Arc::new(JwtCache::new(authority)))
}

fn grant(pid: i32, audience: &str) -> Grant {
    let id = SpiffeId::parse("spiffe://example.org/a").unwrap();
    grant_for_tests(id, vec![audience.to_owned()], Duration::from_secs(100), None).of_process(pid)
}

async fn jti(cache: &JwtCache, authority: &Numbering, grant: &Grant, now: u64) -> Option<String> {
    *authority.now.lock().unwrap() = now;
    let clock = || Timestamp::from_seconds(*authority.now.lock().unwrap());
    cache.get(grant, clock).await.ok().map(|cached| cached.svid.claims.jti.clone())
}

#[tokio::test]
async fn a_token_is_reused_for_half_its_life() {
    let (authority, cache) = cache();
    let grant = grant(1, "a");
    for (now, expected) in [(1000, "0"), (1049, "0"), (1050, "1"), (1099, "1"), (1100, "2")] {
        assert_eq!(jti(&cache, &authority, &grant, now).await.as_deref(), Some(expected), "at {now}");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_keep_a_token_fresh() {
    let (authority, cache) = cache();
    let grant = grant(1, "a");
    assert_eq!(jti(&cache, &authority, &grant, 1000).await.as_deref(), Some("0"));
    assert_eq!(jti(&cache, &authority, &grant, 10).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_token_of_a_tainted_key_is_not_handed_out_again() {
    let (authority, cache) = cache();
    let grant = grant(1, "a");
    assert_eq!(jti(&cache, &authority, &grant, 1000).await.as_deref(), Some("0"));
    authority.bundles.send_replace(Arc::new(bundles(["another"])));
    assert_eq!(jti(&cache, &authority, &grant, 1001).await.as_deref(), Some("0"), "another key is none of its matter");
    authority.bundles.send_replace(Arc::new(bundles(["another", "key"])));
    assert_eq!(jti(&cache, &authority, &grant, 1002).await.as_deref(), Some("1"));
    // Not even where there is nothing else to hand out.
    authority.fails.store(true, Ordering::Relaxed);
    assert_eq!(jti(&cache, &authority, &grant, 1003).await, None);
}

#[tokio::test]
async fn a_token_of_a_key_that_left_the_bundle_is_not_handed_out_again() {
    let (authority, cache) = cache();
    let grant = grant(1, "a");
    assert_eq!(jti(&cache, &authority, &grant, 1000).await.as_deref(), Some("0"));
    // As after a clock that was set back by days and put right: the key is gone, the token in its time.
    let mut without = bundles([]);
    Arc::make_mut(&mut without.own).jwt_authorities.clear();
    authority.bundles.send_replace(Arc::new(without));
    assert_eq!(jti(&cache, &authority, &grant, 1001).await.as_deref(), Some("1"));
    authority.fails.store(true, Ordering::Relaxed);
    assert_eq!(jti(&cache, &authority, &grant, 1002).await, None, "nobody could check it");
}

#[tokio::test]
async fn two_processes_or_two_audiences_never_share_a_token() {
    let (authority, cache) = cache();
    let grants = [grant(1, "a"), grant(2, "a"), grant(1, "b")];
    for (index, grant) in grants.iter().enumerate() {
        assert_eq!(jti(&cache, &authority, grant, 1000).await, Some(index.to_string()));
    }
    for (index, grant) in grants.iter().enumerate() {
        assert_eq!(jti(&cache, &authority, grant, 1001).await, Some(index.to_string()), "each finds its own again");
    }
}

#[tokio::test]
async fn a_failed_renewal_serves_what_is_valid_and_never_what_is_expired() {
    let (authority, cache) = cache();
    let grant = grant(1, "a");
    assert_eq!(jti(&cache, &authority, &grant, 1000).await.as_deref(), Some("0"));
    authority.fails.store(true, Ordering::Relaxed);
    assert_eq!(jti(&cache, &authority, &grant, 1099).await.as_deref(), Some("0"), "still valid");
    assert_eq!(jti(&cache, &authority, &grant, 1100).await, None, "expired");
    authority.fails.store(false, Ordering::Relaxed);
    assert_eq!(jti(&cache, &authority, &grant, 1100).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_token_that_expires_while_its_renewal_fails_is_not_served() {
    let (authority, cache) = cache();
    let grant = grant(1, "a");
    assert_eq!(jti(&cache, &authority, &grant, 1000).await.as_deref(), Some("0"));
    authority.fails.store(true, Ordering::Relaxed);
    authority.takes.store(50, Ordering::Relaxed);
    assert_eq!(jti(&cache, &authority, &grant, 1051).await, None, "the failure took until 1101");
}

#[tokio::test]
async fn who_waited_for_the_failed_renewal_of_another_is_not_served_an_expired_token() {
    let (authority, cache) = cache();
    let grant = grant(1, "a");
    jti(&cache, &authority, &grant, 1000).await;
    authority.takes.store(40, Ordering::Relaxed);
    let clock = || Timestamp::from_seconds(*authority.now.lock().unwrap());
    *authority.now.lock().unwrap() = 1049;
    // The other one holds the slot until the token has reached half of its life.
    let slot = cache.slots.of(&grant);
    let held = slot.lock().await;
    let waiting = cache.get(&grant, clock);
    tokio::pin!(waiting);
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
    *authority.now.lock().unwrap() = 1100;
    drop(held);
    assert_eq!(waiting.await.ok().map(|cached| cached.reused), Some(false), "the old token expired at 1100");
}

#[tokio::test]
async fn callers_who_ask_at_once_wait_for_one_signature() {
    let (authority, cache) = cache();
    *authority.now.lock().unwrap() = 1000;
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { cache.get(&grant(1, "a"), || Timestamp::from_seconds(1000)).await.is_ok() })
        })
        .collect();
    for asked in asking {
        assert!(asked.await.unwrap());
    }
    assert_eq!(authority.signed.load(Ordering::Relaxed), 1);
}

/// A watch that never ends by itself, and whether it still goes on.
fn watch(cache: &JwtCache, grant: &Grant) -> Option<tokio::task::JoinHandle<()>> {
    let mut begun = None;
    cache.watch(grant.instance(), || {
        let task = tokio::spawn(std::future::pending());
        let handle = task.abort_handle();
        begun = Some(task);
        handle
    });
    begun
}

#[tokio::test]
async fn a_process_that_is_gone_is_forgotten_and_its_exit_is_watched_once() {
    let (authority, cache) = cache();
    let grant = grant(1, "a");
    let watching = watch(&cache, &grant).expect("the first watch of it");
    assert!(watch(&cache, &grant).is_none(), "it is watched already");
    jti(&cache, &authority, &grant, 1000).await;
    cache.forget(grant.instance());
    assert!(watching.await.unwrap_err().is_cancelled());
    assert_eq!(jti(&cache, &authority, &grant, 1001).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_process_that_runs_another_program_is_forgotten_as_what_it_was() {
    let (authority, cache) = cache();
    let (before, after) = (grant(1, "a"), grant(1, "a").of_image(7));
    let first = jti(&cache, &authority, &before, 1000).await;
    let watching = watch(&cache, &before).expect("the first watch of it");
    let second = jti(&cache, &authority, &after, 1000).await;
    assert!(watching.await.unwrap_err().is_cancelled(), "each program that it ran would keep a descriptor");
    assert_ne!(first, second);
    cache.forget(before.instance());
    assert_eq!(jti(&cache, &authority, &after, 1000).await, second, "late news of the old program");
    assert_ne!(jti(&cache, &authority, &before, 1000).await, first, "run again, it is another instance");
}

#[tokio::test]
async fn a_process_that_asks_for_ever_new_audiences_loses_only_its_own_tokens() {
    let (authority, cache) = cache();
    let other = grant(2, "a");
    let kept = jti(&cache, &authority, &other, 1000).await;
    let first = jti(&cache, &authority, &grant(1, "0"), 1000).await;
    for audience in 1..=MAX_TOKENS_PER_INSTANCE {
        jti(&cache, &authority, &grant(1, &audience.to_string()), 1000).await;
    }
    assert_eq!(jti(&cache, &authority, &other, 1000).await, kept);
    assert_ne!(jti(&cache, &authority, &grant(1, "0"), 1000).await, first);
}

#[tokio::test]
async fn the_number_of_remembered_processes_is_bounded() {
    let (authority, cache) = cache();
    let first = jti(&cache, &authority, &grant(0, "a"), 1000).await;
    let watching = watch(&cache, &grant(0, "a")).expect("the first watch of it");
    let most = i32::try_from(MAX_INSTANCES).unwrap();
    for pid in 1..=most {
        jti(&cache, &authority, &grant(pid, "a"), 1000).await;
    }
    assert!(watching.await.unwrap_err().is_cancelled(), "what is forgotten is watched no more");
    assert_ne!(jti(&cache, &authority, &grant(0, "a"), 1000).await, first, "the first to come is the first to go");
    let last = authority.signed.load(Ordering::Relaxed);
    jti(&cache, &authority, &grant(most, "a"), 1000).await;
    assert_eq!(authority.signed.load(Ordering::Relaxed), last, "the last is still there");
}
