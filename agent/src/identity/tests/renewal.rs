//! Renewal of X509-SVIDs over an open stream, by a clock that goes on, jumps and stands still, and
//! with an authority that fails or is tainted.

use std::sync::atomic::Ordering;

use super::fake::{FIRST_AUTHORITY, FakeAgent, bundle, end, message, serials, silence};
use super::*;

const HOUR: u64 = 3600;

#[tokio::test(start_paused = true)]
async fn an_svid_is_renewed_at_about_half_of_its_life() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    let mut before = serials(&message(&mut stream).await);
    let mut now = NOON;
    for _ in 0..3 {
        agent.set_clock(now + HOUR * 4 / 10 - 1);
        silence(&mut stream).await;
        now += HOUR * 6 / 10;
        agent.set_clock(now);
        let renewed = message(&mut stream).await;
        assert_ne!(serials(&renewed), before);
        assert_eq!(renewed.svids[0].svid.not_after.seconds(), now + HOUR);
        let last = agent.audit().pop().unwrap();
        assert_eq!((&last["outcome"], &last["replaces"]), (&"issued".into(), &before[0].clone().into()));
        before = serials(&renewed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_keeps_the_stream_until_the_svid_expires() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    message(&mut stream).await;
    agent.authority.fails.store(true, Ordering::Relaxed);
    agent.set_clock(NOON + HOUR * 6 / 10);
    silence(&mut stream).await;
    let failures = || agent.audit().iter().filter(|record| record["outcome"] == "failed").count();
    assert_eq!(failures(), 1, "by a clock that stands still it is not tried again");
    agent.set_clock(NOON + HOUR);
    silence(&mut stream).await;
    assert_eq!(failures(), 2);
    agent.set_clock(NOON + HOUR + 1);
    let ended = end(&mut stream).await;
    assert!(matches!(ended, Refusal::Authority(_)), "{ended}");
    assert_eq!(ended.fault(), Fault::Agent, "Unavailable: the client comes back");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_failed_is_tried_again() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    let first = serials(&message(&mut stream).await);
    agent.authority.fails.store(true, Ordering::Relaxed);
    agent.set_clock(NOON + HOUR * 6 / 10);
    silence(&mut stream).await;
    agent.authority.fails.store(false, Ordering::Relaxed);
    agent.set_clock(NOON + HOUR * 6 / 10 + 5);
    assert_ne!(serials(&message(&mut stream).await), first);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_could_not_be_signed_is_pushed_later() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    message(&mut stream).await;
    agent.authority.fails.store(true, Ordering::Relaxed);
    agent.change_bundles(|set| set.own = bundle("example.org", &["root 1", "root 2"]));
    silence(&mut stream).await;
    agent.authority.fails.store(false, Ordering::Relaxed);
    agent.set_clock(NOON + 5);
    assert_eq!(message(&mut stream).await.bundles.own().x509_authorities.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_expires_while_nothing_can_be_signed_makes_no_flood_of_tries() {
    let agent = FakeAgent::start(&(mine("a", "expires: 2027-09-02") + &mine("b", "")));
    agent.set_clock(NOON + 12 * HOUR - 60);
    let mut stream = agent.watch().await.unwrap();
    assert_eq!(message(&mut stream).await.svids.len(), 2);
    agent.authority.fails.store(true, Ordering::Relaxed);
    agent.set_clock(NOON + 12 * HOUR);
    silence(&mut stream).await;
    assert_eq!(agent.audit().iter().filter(|record| record["outcome"] == "failed").count(), 1);
    agent.authority.fails.store(false, Ordering::Relaxed);
    agent.set_clock(NOON + 12 * HOUR + 5);
    assert_eq!(fake::entries(&message(&mut stream).await), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_jump_of_the_clock_the_stream_goes_on_with_a_valid_svid() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    message(&mut stream).await;
    for now in [NOON + 30 * HOUR, NOON - 30 * HOUR, NOON, NOON + HOUR + 1] {
        agent.set_clock(now);
        let svid = message(&mut stream).await.svids.remove(0).svid;
        assert_eq!((svid.not_before.seconds(), svid.not_after.seconds()), (now - 30, now + HOUR));
        silence(&mut stream).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tainted_authority_makes_a_new_svid_and_one_that_still_signs_makes_no_flood() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    assert_eq!(message(&mut stream).await.svids[0].svid.authority, FIRST_AUTHORITY);
    agent.taint("another");
    silence(&mut stream).await;

    // The authority that is tainted goes on signing: a new SVID is no better, and the next try waits.
    agent.taint(FIRST_AUTHORITY);
    assert_eq!(message(&mut stream).await.svids[0].svid.authority, FIRST_AUTHORITY);
    silence(&mut stream).await;
    assert_eq!(agent.authority.signed.load(Ordering::Relaxed), 2);

    agent.sign_with("b2");
    agent.set_clock(NOON + 5);
    assert_eq!(message(&mut stream).await.svids[0].svid.authority, "b2");
    silence(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_left_the_bundle_makes_a_new_svid() {
    let agent = FakeAgent::start(&mine("a", ""));
    agent.change_bundles(|set| set.own = bundle("example.org", &["root 1", "root 2"]));
    let mut stream = agent.watch().await.unwrap();
    let first = serials(&message(&mut stream).await);
    agent.change_bundles(|set| set.own = bundle("example.org", &["root 2"]));
    let second = message(&mut stream).await;
    assert_ne!(serials(&second), first);
    assert_eq!(second.bundles.own().x509_authorities.len(), 1);
}

/// More streams than look at a change at once.
#[tokio::test(start_paused = true)]
async fn many_streams_are_all_told_of_a_change_a_taint_and_a_renewal() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut streams = Vec::new();
    for _ in 0..150 {
        streams.push(agent.watch().await.unwrap());
    }
    for stream in &mut streams {
        message(stream).await;
    }
    agent.change_bundles(|set| set.own = bundle("example.org", &["root 1", "root 2"]));
    for stream in &mut streams {
        assert_eq!(message(stream).await.bundles.own().x509_authorities.len(), 2);
    }
    agent.sign_with("b2");
    agent.taint(FIRST_AUTHORITY);
    for stream in &mut streams {
        assert_eq!(message(stream).await.svids[0].svid.authority, "b2");
    }
    agent.set_clock(NOON + HOUR * 6 / 10);
    for stream in &mut streams {
        assert_eq!(message(stream).await.svids[0].svid.not_after.seconds(), NOON + HOUR * 16 / 10);
    }
    assert_eq!(agent.authority.signed.load(Ordering::Relaxed), 4 * 150);
    agent.apply("").await;
    for stream in &mut streams {
        assert!(matches!(end(stream).await, Refusal::NoEntry));
    }
}
