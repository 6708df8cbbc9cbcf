//! Keys by schedule, by hand, and under clocks and disks that misbehave.

use super::*;

#[tokio::test(start_paused = true)]
async fn fe_14_a_key_is_published_before_it_signs_and_until_its_tokens_are_gone() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let mut bundles = agent.authority.bundles();
    bundles.mark_unchanged();
    let first = agent.sign().await.unwrap();
    let sequence = agent.bundle().sequence;

    machine.clock.forward(24 * HOUR - 25 * MINUTE);
    the_keeper_wakes(&agent).await;
    assert_eq!(agent.states().await, [KeyState::Active, KeyState::Prepared]);
    assert_eq!(agent.bundle().sequence, sequence + 1);
    assert!(bundles.has_changed().unwrap());
    bundles.mark_unchanged();
    assert_eq!(agent.sign().await.unwrap().kid, first.kid);

    machine.clock.forward(25 * MINUTE);
    let second = agent.sign().await.unwrap();
    assert_ne!(second.kid, first.kid);
    assert_eq!(agent.states().await, [KeyState::Retiring, KeyState::Active]);
    assert_eq!(agent.bundle().sequence, sequence + 1, "the same keys are published");
    assert!(!bundles.has_changed().unwrap(), "no news of nothing");

    machine.clock.forward(HOUR + MINUTE);
    the_keeper_wakes(&agent).await;
    assert_eq!(agent.states().await, [KeyState::Active]);
    assert_eq!(agent.bundle().sequence, sequence + 2);
    assert!(is_valid(&second, &agent.bundle(), Timestamp::from_seconds(second.claims.iat.seconds())));
    assert!(!is_valid(&first, &agent.bundle(), first.claims.iat));
}

#[tokio::test(start_paused = true)]
async fn d6_a_machine_that_slept_for_days_signs_with_a_key_in_its_time() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let before = agent.sign().await.unwrap();
    machine.clock.forward(30 * 24 * HOUR);
    // No timer has fired: the runtime's time stood still meanwhile.
    let after = agent.sign().await.unwrap();
    assert_ne!(after.kid, before.kid);
    assert_eq!(after.claims.iat, machine.now());
    assert!(is_valid(&after, &agent.bundle(), machine.now()));
}

#[tokio::test(start_paused = true)]
async fn d6_a_clock_that_goes_back_and_forth_leaves_a_signing_agent() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    machine.clock.back(40 * 365 * 24 * HOUR);
    let early = agent.sign().await.unwrap();
    assert!(is_valid(&early, &agent.bundle(), machine.now()));
    machine.clock.forward(40 * 365 * 24 * HOUR);
    let late = agent.sign().await.unwrap();
    assert!(is_valid(&late, &agent.bundle(), machine.now()));
}

#[tokio::test(start_paused = true)]
async fn d6_a_full_disk_leaves_the_old_key_signing_until_its_end_and_not_longer() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let ends = agent.authority.show().await.jwt.keys[0].ends;
    assert_eq!(ends, machine.now().after(25 * HOUR));
    machine.record.full.store(true, Ordering::SeqCst);

    machine.clock.forward(24 * HOUR + 58 * MINUTE);
    let clamped = agent.sign().await.unwrap();
    assert_eq!(clamped.claims.exp, ends, "no token outlives the key that signed it");
    machine.clock.forward(2 * MINUTE);
    assert!(matches!(agent.sign().await, Err(AuthorityError::NoActiveKey)));

    machine.record.full.store(false, Ordering::SeqCst);
    tokio::time::advance(10 * MINUTE).await;
    let recovered = agent.sign().await.unwrap();
    assert_ne!(recovered.kid, clamped.kid);
}

#[tokio::test]
async fn by_hand_a_key_is_prepared_then_activated() {
    let agent = Machine::new().start().await.unwrap();
    assert!(matches!(agent.authority.activate(&[Kind::Jwt]).await, Err(AuthorityError::NothingPrepared(Kind::Jwt))));
    let prepared = agent.authority.prepare(&[Kind::Jwt]).await.unwrap();
    let next = prepared.jwt.keys[1].clone();
    assert_eq!(next.state, KeyState::Prepared);
    assert_eq!(Some(next.activates), prepared.jwt.next_rotation_at);
    assert_ne!(agent.sign().await.unwrap().kid, next.id);
    assert!(
        matches!(agent.authority.prepare(&[Kind::Jwt]).await, Err(AuthorityError::AlreadyPrepared { id, .. }) if id == next.id)
    );

    let activated = agent.authority.activate(&[Kind::Jwt]).await.unwrap();
    assert_eq!(agent.states().await, [KeyState::Retiring, KeyState::Active]);
    assert_eq!(activated.sequence, prepared.sequence);
    assert_eq!(agent.sign().await.unwrap().kid, next.id);
}

#[tokio::test]
async fn by_hand_no_more_than_eight_keys_are_published() {
    let agent = Machine::new().start().await.unwrap();
    for _ in 0..7 {
        agent.authority.prepare(&[Kind::Jwt]).await.unwrap();
        agent.authority.activate(&[Kind::Jwt]).await.unwrap();
    }
    assert!(matches!(agent.authority.prepare(&[Kind::Jwt]).await, Err(AuthorityError::TooManyKeys { count: 8, .. })));
}

#[tokio::test]
async fn a_change_that_cannot_be_saved_is_not_made() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let before = agent.authority.show().await;
    machine.record.full.store(true, Ordering::SeqCst);
    assert!(matches!(agent.authority.prepare(&[Kind::Jwt]).await, Err(AuthorityError::Save(_))));
    assert_eq!(agent.authority.show().await, before);
    assert_eq!(agent.bundle().jwt_authorities.len(), 1);
}

#[tokio::test]
async fn after_the_drain_began_the_key_still_signs_and_nothing_changes_any_more() {
    let agent = Machine::new().start().await.unwrap();
    agent.trigger.request();
    agent.authority.requests.closed().await;
    assert!(agent.sign().await.is_ok());
    assert!(matches!(agent.authority.prepare(&[Kind::Jwt]).await, Err(AuthorityError::Stopped)));
}
