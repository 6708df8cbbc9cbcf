//! The schedule, one life at a time. Against random clocks, hands and terms: `worlds`.

use countersign_common::svid::jwt::Algorithm;

use super::*;

mod worlds;

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn terms() -> Terms {
    Terms {
        make: Make::Jwt(Algorithm::Es256),
        held_in: HeldIn::State,
        key_life: 24 * HOUR,
        max_ttl: HOUR,
        refresh_hint: Duration::from_secs(300),
        issuer_ends: None,
    }
}

/// Terms of X.509 authorities, with certificates that end.
fn x509_terms() -> Terms {
    Terms { make: Make::SelfSigned, ..terms() }
}

/// Adds a key as the keeper does: an X.509 authority with a certificate for as long as is asked
/// for, and no longer than that of its issuer.
fn make(ring: &mut Ring, now: Timestamp, terms: &Terms, made: &mut u64) {
    *made += 1;
    let wanted = ring.validity_of_next(now, terms);
    let until = terms.issuer_ends.map_or(wanted.until, |ends| wanted.until.min(ends));
    let validity = (!matches!(terms.make, Make::Jwt(_))).then_some(Validity { until, ..wanted });
    ring.prepare(format!("key-{made}"), terms.make.clone(), terms.held_in, validity, now);
}

/// Takes every step that is due, as the keeper does. Names of new keys come from `made`.
fn settle(ring: &mut Ring, now: Timestamp, terms: &Terms, made: &mut u64) -> Vec<Step> {
    let mut taken = Vec::new();
    while let Some(step) = next_step(ring, now, terms) {
        match &step {
            Step::ClockWentBack => ring.rebase(now),
            // What keeps the keeper from making one that could not sign.
            Step::Prepare if terms.issuer_ends.is_some_and(|ends| ends <= now) => break,
            Step::Prepare => make(ring, now, terms, made),
            Step::Activate => ring.activate(now, terms),
            Step::Drop(id) => ring.drop_key(id),
        }
        taken.push(step);
        assert!(taken.len() <= 32, "no end of steps: {taken:?}");
    }
    taken
}

fn after(seconds: u64) -> Timestamp {
    START.after(Duration::from_secs(seconds))
}

#[test]
fn one_life_from_the_first_key_to_its_end() {
    let (terms, mut ring, mut made) = (terms(), Ring::default(), 0);
    let day = 86_400;
    let lead = terms.lead().as_secs();
    assert_eq!(lead, 1500);
    assert_eq!(settle(&mut ring, START, &terms, &mut made), [Step::Prepare, Step::Activate]);
    assert_eq!(settle(&mut ring, after(day - lead - 1), &terms, &mut made), []);
    assert_eq!(settle(&mut ring, after(day - lead), &terms, &mut made), [Step::Prepare]);
    assert_eq!(settle(&mut ring, after(day - 1), &terms, &mut made), []);
    assert_eq!(settle(&mut ring, after(day), &terms, &mut made), [Step::Activate]);
    assert_eq!(ring.active().unwrap().id, "key-2");
    assert_eq!(settle(&mut ring, after(day + 3659), &terms, &mut made), []);
    assert_eq!(settle(&mut ring, after(day + 3660), &terms, &mut made), [Step::Drop("key-1".into())]);
    assert_eq!(ring.keys.len(), 1);
}

#[test]
fn a_machine_that_slept_for_days_has_a_fresh_key_at_once() {
    let (terms, mut ring, mut made) = (terms(), Ring::default(), 0);
    settle(&mut ring, START, &terms, &mut made);
    let steps = settle(&mut ring, after(30 * 86_400), &terms, &mut made);
    assert_eq!(steps, [Step::Prepare, Step::Activate]);
    assert_eq!(ring.active().unwrap().id, "key-2");
}

#[test]
fn a_clock_that_was_years_ahead_does_not_give_a_key_years_to_live() {
    let (terms, mut ring, mut made) = (terms(), Ring::default(), 0);
    settle(&mut ring, after(10 * 365 * 86_400), &terms, &mut made);
    settle(&mut ring, START, &terms, &mut made);
    assert_eq!(ring.active().unwrap().must_stop_at(&terms), Some(after(86_400)));
}

#[test]
fn another_algorithm_takes_over_once_its_key_has_been_published() {
    let (mut terms, mut ring, mut made) = (terms(), Ring::default(), 0);
    settle(&mut ring, START, &terms, &mut made);
    terms.make = Make::Jwt(Algorithm::Rs256);
    assert_eq!(settle(&mut ring, after(1), &terms, &mut made), [Step::Prepare]);
    assert_eq!(settle(&mut ring, after(1500), &terms, &mut made), []);
    assert_eq!(settle(&mut ring, after(1501), &terms, &mut made), [Step::Activate]);
    assert_eq!(ring.active().unwrap().make, Make::Jwt(Algorithm::Rs256));
}

#[test]
fn a_prepared_key_of_an_algorithm_that_is_not_wanted_any_more_is_replaced() {
    let (mut terms, mut ring, mut made) = (terms(), Ring::default(), 0);
    settle(&mut ring, START, &terms, &mut made);
    ring.prepare("by-hand".into(), Make::Jwt(Algorithm::Es256), HeldIn::State, None, START);
    terms.make = Make::Jwt(Algorithm::Rs256);
    assert_eq!(settle(&mut ring, after(1), &terms, &mut made), [Step::Drop("by-hand".into()), Step::Prepare]);
}

#[test]
fn a_shorter_token_life_does_not_shorten_what_was_promised_before() {
    let (mut terms, mut ring, mut made) = (terms(), Ring::default(), 0);
    settle(&mut ring, START, &terms, &mut made);
    terms.max_ttl = Duration::from_secs(60);
    ring.adopt(&terms);
    settle(&mut ring, after(86_400), &terms, &mut made);
    let retired = ring.keys.iter().find(|key| key.id == "key-1").unwrap();
    assert_eq!(retired.phase, Phase::Retiring { since: after(86_400), drops_at: after(86_400 + 3660) });
}

/// Both terms, with a life that begins at the start: the state of the one ring, and steps by time.
fn lives(terms: &Terms) -> (Ring, u64) {
    let (mut ring, mut made) = (Ring::default(), 0);
    assert_eq!(settle(&mut ring, START, terms, &mut made), [Step::Prepare, Step::Activate]);
    (ring, made)
}

#[test]
fn an_authority_signs_for_its_life_and_its_last_leaf_fits_before_its_end() {
    let terms = x509_terms();
    let (mut ring, mut made) = lives(&terms);
    let day = 86_400;
    let first = ring.active().unwrap().validity.unwrap();
    assert_eq!(first, Validity { from: START, until: after(day + 1500 + 3660) });
    assert_eq!(ring.rotation_at(&terms), Some(after(day)));
    settle(&mut ring, after(day - 1500), &terms, &mut made);
    let second = ring.prepared().unwrap().validity.unwrap();
    assert_eq!(second.until, after(2 * day + 1500 + 3660), "its life begins when it takes over");
    assert_eq!(settle(&mut ring, after(day), &terms, &mut made), [Step::Activate]);
}

#[test]
fn longer_leaves_than_an_authority_was_made_for_have_it_replaced_by_one_that_is_known() {
    let mut terms = x509_terms();
    let (mut ring, mut made) = lives(&terms);
    terms.max_ttl = 23 * HOUR;
    assert_eq!(settle(&mut ring, after(10_000), &terms, &mut made), [Step::Prepare]);
    assert_eq!(settle(&mut ring, after(11_499), &terms, &mut made), []);
    assert_eq!(settle(&mut ring, after(11_500), &terms, &mut made), [Step::Activate]);
}

#[test]
fn an_issuer_that_ends_soon_does_not_have_authorities_made_in_vain() {
    let issuer_ends = Some(after(7200));
    let terms = Terms { issuer_ends, ..x509_terms() };
    let (mut ring, mut made) = lives(&terms);
    assert_eq!(ring.rotation_at(&terms), issuer_ends, "the next one would end at the same moment");
    let steps: Vec<_> = (1..7200).flat_map(|at| settle(&mut ring, after(at), &terms, &mut made)).collect();
    assert_eq!(steps, [Step::Prepare]);
    assert_eq!(settle(&mut ring, after(7200), &terms, &mut made).len(), 1, "only the prepared one is dropped");
    assert_eq!(ring.active().unwrap().must_stop_at(&terms), issuer_ends);
}

#[test]
fn an_authority_of_a_clock_that_was_ahead_is_replaced_when_it_goes_back() {
    let terms = x509_terms();
    let (mut ring, mut made) = (Ring::default(), 0);
    settle(&mut ring, after(10 * 365 * 86_400), &terms, &mut made);
    make(&mut ring, after(10 * 365 * 86_400), &terms, &mut made);
    let steps = settle(&mut ring, START, &terms, &mut made);
    assert_eq!(steps, [Step::ClockWentBack, Step::Drop("key-2".into()), Step::Prepare, Step::Activate]);
    assert_eq!(ring.active().unwrap().id, "key-3");
    assert!(ring.active().unwrap().has_begun(START));
    assert_eq!(settle(&mut ring, after(3660), &terms, &mut made), [Step::Drop("key-1".into())]);
}

#[test]
fn a_tainted_key_is_replaced_at_once_and_stays_published_until_its_last_document_is_gone() {
    let terms = terms();
    let (mut ring, mut made) = lives(&terms);
    assert!(ring.taint("key-1", after(10)));
    assert_eq!(settle(&mut ring, after(10), &terms, &mut made), [Step::Prepare, Step::Activate]);
    assert_eq!(ring.key("key-1").unwrap().phase, Phase::Tainted { since: after(10), drops_at: after(3670) });
    assert!(ring.key("key-1").unwrap().published().is_some());
    for id in ["key-1", "no such key"] {
        assert!(!ring.taint(id, after(11)), "{id}");
    }
    make(&mut ring, after(11), &terms, &mut made);
    assert!(!ring.taint("key-3", after(11)), "it has signed nothing");
    assert_eq!(settle(&mut ring, after(3669), &terms, &mut made), []);
    assert_eq!(settle(&mut ring, after(3670), &terms, &mut made), [Step::Drop("key-1".into())]);
}

#[test]
fn a_prepared_key_takes_the_place_of_a_tainted_one() {
    let terms = x509_terms();
    let (mut ring, mut made) = lives(&terms);
    make(&mut ring, START, &terms, &mut made);
    ring.taint("key-1", after(10));
    assert_eq!(settle(&mut ring, after(10), &terms, &mut made), [Step::Activate]);
    assert_eq!(ring.active().unwrap().id, "key-2");
}

#[test]
fn a_revoked_key_is_not_published_and_its_name_is_kept_for_as_long_as_its_documents_would_live() {
    let terms = terms();
    let (mut ring, mut made) = lives(&terms);
    assert!(!ring.revoke("key-1", START), "the active one is not");
    make(&mut ring, START, &terms, &mut made);
    assert!(ring.revoke("key-2", START));
    assert_eq!(ring.key("key-2"), None, "it has signed nothing");
    ring.taint("key-1", START);
    assert!(ring.revoke("key-1", after(10)));
    assert!(!ring.revoke("key-1", after(10)), "it is already");
    assert_eq!(ring.key("key-1").unwrap().published(), None);
    assert_eq!(settle(&mut ring, after(3659), &terms, &mut made), [Step::Prepare, Step::Activate]);
    assert_eq!(settle(&mut ring, after(3660), &terms, &mut made), [Step::Drop("key-1".into())]);
}
