//! Authorities under an upstream root.

use super::x509::{is_trusted, public_key, x509_grant};
use super::*;
use crate::authority::embedded::upstream::for_tests::Files;

/// A machine whose authorities are under the root of these files.
fn machine(files: &Files) -> Machine {
    let mut machine = Machine::new();
    let upstream = Upstream::load(&files.source(), &machine.options.trust_domain, machine.now()).unwrap();
    machine.options.upstream = Some(Arc::new(upstream));
    machine
}

fn year() -> Files {
    Files::with_intermediate("example.org", START - 3600, START + 365 * 86_400)
}

#[tokio::test]
async fn leaves_carry_the_intermediates_and_the_bundle_holds_the_root() {
    let files = year();
    let machine = machine(&files);
    let agent = machine.start().await.unwrap();
    let svid = agent.leaf().await.unwrap();
    assert_eq!(svid.chain.len(), 3, "the leaf, our authority, the one upstream");
    assert_eq!(agent.bundle().x509_authorities, [files.root()]);
    assert!(is_trusted(&svid, &agent.bundle(), machine.now()));
    let sequence = agent.bundle().sequence;
    agent.authority.prepare(&[Kind::X509]).await.unwrap();
    agent.authority.activate(&[Kind::X509]).await.unwrap();
    assert_eq!(agent.bundle().sequence, sequence, "the same root is published");
    assert!(is_trusted(&agent.leaf().await.unwrap(), &agent.bundle(), machine.now()));
    let view = agent.authority.show().await;
    drop(agent);
    let agent = machine.start().await.unwrap();
    assert_eq!(agent.authority.show().await, view, "the same authorities after a crash");
}

#[tokio::test(start_paused = true)]
async fn no_authority_outlives_the_root_and_no_leaf_its_authority() {
    let files = Files::with_intermediate("example.org", START - 3600, START + 7200);
    let machine = machine(&files);
    let agent = machine.start().await.unwrap();
    let end = Timestamp::from_seconds(START + 7200);
    assert_eq!(agent.authority.show().await.x509.keys[0].ends, end);
    let svid = agent.authority.sign_x509(&x509_grant(24 * HOUR), &public_key()).await.unwrap();
    assert_eq!(svid.not_after, end);
    machine.clock.forward(2 * HOUR - Duration::from_secs(1));
    assert_eq!(agent.leaf().await.unwrap().not_after, end);
    machine.clock.forward(Duration::from_secs(1));
    assert!(matches!(agent.leaf().await, Err(AuthorityError::NoActiveKey)));
    // The other ring does not stand still with it.
    machine.clock.forward(48 * HOUR);
    tokio::time::advance(MINUTE).await;
    assert!(is_valid(&agent.sign().await.unwrap(), &agent.bundle(), machine.now()));
}

#[tokio::test]
async fn a_tainted_intermediate_is_named_and_one_whose_root_is_in_use_cannot_be_revoked() {
    let files = year();
    let machine = machine(&files);
    let agent = machine.start().await.unwrap();
    let old = agent.leaf().await.unwrap();
    agent.authority.taint(old.authority.clone()).await.unwrap();
    let new = agent.leaf().await.unwrap();
    assert_ne!(new.authority, old.authority);
    let tainted: Vec<_> = agent.authority.bundles().borrow().tainted.iter().cloned().collect();
    assert_eq!(tainted, [&*old.authority]);
    let refused = agent.authority.revoke(old.authority.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("under an upstream root that is still in use"), "{refused}");
    assert!(is_trusted(&old, &agent.bundle(), machine.now()), "which is why");
    // One that never signed can go.
    let next = agent.authority.prepare(&[Kind::X509]).await.unwrap().x509.keys[2].id.clone();
    agent.authority.revoke(next).await.unwrap();
}

#[tokio::test]
async fn another_root_takes_over_once_it_is_known_and_the_old_one_can_be_revoked_then() {
    let (files, others) = (year(), year());
    let mut machine = machine(&files);
    let agent = machine.start().await.unwrap();
    let old = agent.leaf().await.unwrap();
    drop(agent);
    machine.options = Machine { ..self::machine(&others) }.options;
    let agent = machine.start().await.unwrap();
    assert_eq!(agent.bundle().x509_authorities, [files.root(), others.root()]);
    assert_eq!(agent.leaf().await.unwrap().authority, old.authority, "the new root has to be known first");
    machine.clock.forward(25 * MINUTE);
    drop(agent);
    let agent = machine.start().await.unwrap();
    assert_ne!(agent.leaf().await.unwrap().authority, old.authority);
    agent.authority.revoke(old.authority.clone()).await.unwrap();
    assert_eq!(agent.bundle().x509_authorities, [others.root()]);
    assert!(!is_trusted(&old, &agent.bundle(), machine.now()));
}

#[tokio::test]
async fn without_a_root_any_more_authorities_sign_their_own() {
    let files = year();
    let mut machine = machine(&files);
    drop(machine.start().await.unwrap());
    machine.options.upstream = None;
    let agent = machine.start().await.unwrap();
    assert_eq!(agent.bundle().x509_authorities.len(), 2);
    agent.authority.activate(&[Kind::X509]).await.unwrap();
    let svid = agent.leaf().await.unwrap();
    assert_eq!(svid.chain.len(), 1);
    assert!(is_trusted(&svid, &agent.bundle(), machine.now()));
}
