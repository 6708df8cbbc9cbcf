//! Keys that operators taint and revoke.

use std::task::{Context, Wake, Waker};

use super::x509::is_trusted;
use super::*;

impl Running {
    fn tainted(&self) -> Vec<String> {
        self.authority.bundles().borrow().tainted.iter().cloned().collect()
    }
}

/// Whoever hears of new bundles, and looks at that very moment which keys would sign: it is woken in
/// the middle of publishing, before the keeper goes on.
struct Listener {
    jwt: Signers<JwtKey>,
    x509: Signers<X509Key>,
    bundles: watch::Receiver<Arc<BundleSet>>,
    /// The bundles, and names of the keys that sign as it hears of them.
    heard: Mutex<Vec<(Arc<BundleSet>, Vec<String>)>>,
}

impl Listener {
    fn of(agent: &Running) -> Arc<Self> {
        let EmbeddedAuthority { jwt, x509, bundles, .. } = &*agent.authority;
        let (jwt, x509, bundles) = (jwt.clone(), x509.clone(), bundles.clone());
        Arc::new(Self { jwt, x509, bundles, heard: Mutex::default() })
    }
}

impl Wake for Listener {
    fn wake(self: Arc<Self>) {
        let jwt = self.jwt.borrow().as_ref().map(|signer| signer.key.kid().to_owned());
        let x509 = self.x509.borrow().as_ref().map(|signer| signer.key.id().to_owned());
        let (bundles, names) = (Arc::clone(&self.bundles.borrow()), jwt.into_iter().chain(x509).collect());
        self.heard.lock().unwrap().push((bundles, names));
    }
}

/// Taints a key, and gives back which keys sign at the moment when it is heard of.
async fn signing_when_heard_of_taint(agent: &Running, bad: &str) -> Vec<String> {
    let (listener, mut bundles) = (Listener::of(agent), agent.authority.bundles());
    bundles.mark_unchanged();
    let mut changed = std::pin::pin!(bundles.changed());
    let waker = Waker::from(Arc::clone(&listener));
    assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    agent.authority.taint(bad.to_owned()).await.unwrap();
    let mut heard = listener.heard.lock().unwrap();
    assert_eq!(heard.len(), 1);
    let (bundles, signing) = heard.remove(0);
    assert!(bundles.tainted.contains(bad));
    signing
}

#[tokio::test]
async fn who_hears_of_a_taint_finds_the_key_taken_back_already() {
    let agent = Machine::new().start().await.unwrap();
    let (kid, authority) = (agent.sign().await.unwrap().kid, agent.leaf().await.unwrap().authority);
    assert_eq!(signing_when_heard_of_taint(&agent, &kid).await, [&*authority], "the other kind signs on");
    let kid = agent.sign().await.unwrap().kid;
    assert_eq!(signing_when_heard_of_taint(&agent, &authority).await, [&*kid]);
    assert_ne!(agent.leaf().await.unwrap().authority, authority, "and another one by and by");
}

#[tokio::test]
async fn a_tainted_jwt_key_never_signs_again_stays_published_and_is_named() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let mut bundles = agent.authority.bundles();
    bundles.mark_unchanged();
    let old = agent.sign().await.unwrap();
    let before = agent.bundle().sequence;
    let shown = agent.authority.taint(old.kid.clone()).await.unwrap();
    assert_eq!(agent.states().await, [KeyState::Tainted, KeyState::Active]);
    assert_eq!(shown.sequence, before + 1, "another key is published");
    assert!(bundles.has_changed().unwrap());
    assert_eq!(agent.tainted(), [&*old.kid]);
    assert_ne!(agent.sign().await.unwrap().kid, old.kid);
    assert!(is_valid(&old, &agent.bundle(), machine.now()), "nothing breaks meanwhile");
    let twice = agent.authority.taint(old.kid.clone()).await.unwrap_err();
    assert_eq!(
        twice.to_string(),
        format!("{} is tainted already: a key that signs or signed can be tainted, no other", old.kid)
    );

    drop(agent);
    let agent = machine.start().await.unwrap();
    assert_eq!(agent.tainted(), [&*old.kid], "also after a crash");
    assert_ne!(agent.sign().await.unwrap().kid, old.kid);
    machine.clock.forward(HOUR + MINUTE);
    let agent = machine.start().await.unwrap();
    assert_eq!((agent.states().await, agent.tainted()), (vec![KeyState::Active], vec![]));
}

#[tokio::test]
async fn a_revoked_jwt_key_is_gone_at_once_and_for_good() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let old = agent.sign().await.unwrap();
    let active = agent.authority.revoke(old.kid.clone()).await.unwrap_err();
    assert!(active.to_string().contains(&format!("countersign authority taint {}", old.kid)), "{active}");
    agent.authority.taint(old.kid.clone()).await.unwrap();
    let before = agent.bundle().sequence;
    agent.authority.revoke(old.kid[..8].to_owned()).await.unwrap();
    assert_eq!(agent.states().await, [KeyState::Revoked, KeyState::Active]);
    assert!(!is_valid(&old, &agent.bundle(), machine.now()));
    assert_eq!(agent.bundle().sequence, before + 1, "it rises on removal");
    assert_eq!(agent.tainted(), [&*old.kid], "who still holds a token of it gets another");
    assert!(matches!(agent.authority.revoke(old.kid.clone()).await, Err(AuthorityError::RevokedAlready { .. })));
    assert!(matches!(agent.authority.taint(old.kid.clone()).await, Err(AuthorityError::NotToTaint { .. })));

    let (view, bundle) = (agent.authority.show().await, agent.bundle());
    drop(agent);
    let agent = machine.start().await.unwrap();
    assert_eq!((agent.authority.show().await, agent.bundle()), (view, bundle));
    assert!(!is_valid(&old, &agent.bundle(), machine.now()));
}

#[tokio::test]
async fn a_tainted_authority_is_replaced_at_once_and_what_a_revoked_one_signed_is_refused() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let old = agent.leaf().await.unwrap();
    agent.authority.taint(old.authority.to_uppercase()).await.unwrap();
    let new = agent.leaf().await.unwrap();
    assert_ne!(new.authority, old.authority);
    assert_eq!(agent.tainted(), [&*old.authority]);
    assert!(is_trusted(&old, &agent.bundle(), machine.now()) && is_trusted(&new, &agent.bundle(), machine.now()));
    agent.authority.revoke(old.authority.clone()).await.unwrap();
    assert!(!is_trusted(&old, &agent.bundle(), machine.now()));
    assert!(is_trusted(&new, &agent.bundle(), machine.now()));
    drop(agent);
    let agent = machine.start().await.unwrap();
    assert!(!is_trusted(&old, &agent.bundle(), machine.now()), "also after a crash");
    assert_eq!(agent.leaf().await.unwrap().authority, new.authority);
}

#[tokio::test]
async fn a_key_that_never_signed_is_revoked_and_not_tainted() {
    let agent = Machine::new().start().await.unwrap();
    let next = agent.authority.prepare(&Kind::ALL).await.unwrap().jwt.keys[1].id.clone();
    let refused = agent.authority.taint(next.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("is prepared"), "{refused}");
    agent.authority.revoke(next).await.unwrap();
    assert_eq!(agent.states().await, [KeyState::Active]);
    assert_eq!(agent.x509_states().await, [KeyState::Active, KeyState::Prepared]);
    assert!(agent.tainted().is_empty());
}

#[tokio::test]
async fn a_retiring_key_is_tainted_or_revoked() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let (token, leaf) = (agent.sign().await.unwrap(), agent.leaf().await.unwrap());
    agent.authority.prepare(&Kind::ALL).await.unwrap();
    agent.authority.activate(&Kind::ALL).await.unwrap();
    agent.authority.taint(token.kid.clone()).await.unwrap();
    agent.authority.revoke(leaf.authority.clone()).await.unwrap();
    assert_eq!(agent.states().await, [KeyState::Tainted, KeyState::Active]);
    assert_eq!(agent.x509_states().await, [KeyState::Revoked, KeyState::Active]);
    assert!(!is_trusted(&leaf, &agent.bundle(), machine.now()));
}

#[tokio::test]
async fn of_both_kinds_all_happens_or_nothing() {
    let agent = Machine::new().start().await.unwrap();
    agent.authority.prepare(&[Kind::X509]).await.unwrap();
    let before = agent.authority.show().await;
    let refused = agent.authority.prepare(&Kind::ALL).await.unwrap_err();
    assert!(refused.to_string().starts_with("X.509 authority "), "{refused}");
    let refused = agent.authority.activate(&Kind::ALL).await.unwrap_err();
    assert!(refused.to_string().starts_with("no JWT key is prepared"), "{refused}");
    assert_eq!(agent.authority.show().await, before);
}

#[tokio::test]
async fn a_taint_that_cannot_be_saved_is_not_made() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let token = agent.sign().await.unwrap();
    machine.record.full.store(true, Ordering::SeqCst);
    assert!(matches!(agent.authority.taint(token.kid.clone()).await, Err(AuthorityError::Save(_))));
    assert!(agent.tainted().is_empty());
    assert_eq!(agent.sign().await.unwrap().kid, token.kid);
}

#[tokio::test]
async fn names_that_stand_for_no_key_are_refused() {
    let agent = Machine::new().start().await.unwrap();
    for (name, word) in [("nobody-is-called-so", "authority show lists them"), ("short", "8 characters")] {
        let refused = agent.authority.taint(name.to_owned()).await.unwrap_err();
        assert!(refused.to_string().contains(word), "{refused}");
        assert!(matches!(agent.authority.revoke(name.to_owned()).await, Err(AuthorityError::Name(_))));
    }
}

#[tokio::test]
async fn taints_have_a_bound() {
    let agent = Machine::new().start().await.unwrap();
    for _ in 0..31 {
        let active = agent.sign().await.unwrap().kid;
        agent.authority.taint(active).await.unwrap();
    }
    let active = agent.sign().await.unwrap().kid;
    let refused = agent.authority.taint(active).await.unwrap_err();
    assert!(matches!(refused, AuthorityError::TooManyKeys { kind: Kind::Jwt, count: 32 }), "{refused}");
}
