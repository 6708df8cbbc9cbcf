//! The state at rest: sealed, complete, and never replaced in silence.

use super::*;
use crate::authority::embedded::jwt_key::JwtKey;
use crate::authority::embedded::keeper::AtRest;

fn saved(machine: &Machine) -> Vec<u8> {
    machine.record.saved.lock().unwrap().clone().expect("something was saved")
}

#[tokio::test]
async fn keys_sequence_and_times_survive_a_crash() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
        let mut machine = Machine::new();
        machine.options.algorithm = algorithm;
        let agent = machine.start().await.unwrap();
        agent.authority.prepare().await.unwrap();
        agent.authority.activate().await.unwrap();
        let token = agent.sign().await.unwrap();
        let (view, bundle) = (agent.authority.show().await, agent.bundle());
        drop(agent);

        machine.clock.forward(MINUTE);
        let agent = machine.start().await.unwrap();
        assert_eq!(agent.authority.show().await, view);
        assert_eq!(agent.bundle(), bundle);
        assert!(is_valid(&token, &agent.bundle(), machine.now()));
        assert_eq!(agent.sign().await.unwrap().kid, token.kid);
    }
}

#[tokio::test]
async fn t6_a_private_key_is_nowhere_in_the_saved_bytes() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    agent.authority.prepare().await.unwrap();
    let bytes = saved(&machine);

    let record: Arc<dyn StateRecord> = Arc::clone(&machine.record) as _;
    let at_rest = AtRest { record, sealing_key: machine.sealing_key.clone() };
    let keys = at_rest.load(&machine.options.trust_domain).await.unwrap().unwrap();
    let plain = keys.write().unwrap();
    // The state in plain does hold the keys: the search below would find them.
    assert!(find_any_window(&plain, &plain));
    assert!(!find_any_window(&bytes, &plain));
}

/// Whether any 16 bytes of `of` occur in `bytes`.
fn find_any_window(bytes: &[u8], of: &[u8]) -> bool {
    let windows: std::collections::HashSet<&[u8]> = bytes.windows(16).collect();
    of.windows(16).any(|window| windows.contains(window))
}

#[tokio::test]
async fn d7_state_that_cannot_be_opened_is_an_error_and_stays_as_it_is() {
    let mut machine = Machine::new();
    drop(machine.start().await.unwrap());
    let before = saved(&machine);
    let state_error = |error| match error {
        AuthorityError::State(error) => error,
        other => panic!("{other}"),
    };

    machine.sealing_key = Some(SealingKey::from_bytes([8; 32]));
    assert_eq!(state_error(machine.refusal().await), StateError::SealingKey);
    machine.sealing_key = None;
    assert_eq!(state_error(machine.refusal().await), StateError::NoSealingKey);
    machine.sealing_key = Some(SealingKey::from_bytes([7; 32]));
    machine.options.trust_domain = TrustDomain::parse("example.com").unwrap();
    let found = "example.org".to_owned();
    assert_eq!(state_error(machine.refusal().await), StateError::TrustDomain { found });
    machine.options.trust_domain = TrustDomain::parse("example.org").unwrap();
    assert_eq!(saved(&machine), before);

    for length in [0, 1, 20, before.len() - 1] {
        *machine.record.saved.lock().unwrap() = Some(before[..length].to_vec());
        assert_eq!(state_error(machine.refusal().await), StateError::Damaged, "{length} bytes");
        assert_eq!(saved(&machine), before[..length]);
    }
}

#[tokio::test]
async fn a_new_store_that_cannot_be_written_is_no_start() {
    let machine = Machine::new();
    machine.record.full.store(true, Ordering::SeqCst);
    assert!(matches!(machine.refusal().await, AuthorityError::Save(_)));
}

#[tokio::test]
async fn without_a_sealing_key_nothing_is_saved() {
    let mut machine = Machine::new();
    machine.sealing_key = None;
    let agent = machine.start().await.unwrap();
    agent.authority.prepare().await.unwrap();
    assert!(agent.sign().await.is_ok());
    assert_eq!(*machine.record.saved.lock().unwrap(), None);
}

#[tokio::test]
async fn bu_2_the_sequence_rises_over_restarts_and_changes_of_the_hint() {
    let mut machine = Machine::new();
    let first = machine.start().await.unwrap().bundle().sequence;
    machine.options.refresh_hint = 10 * MINUTE;
    assert_eq!(machine.start().await.unwrap().bundle().sequence, first + 1);
    machine.options.refresh_hint = 5 * MINUTE;
    assert_eq!(machine.start().await.unwrap().bundle().sequence, first + 2);
    assert_eq!(machine.start().await.unwrap().bundle().sequence, first + 2);
}

#[tokio::test]
async fn another_algorithm_in_the_options_prepares_a_key_of_it_at_the_next_start() {
    let mut machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let kid = agent.sign().await.unwrap().kid;
    drop(agent);
    machine.options.algorithm = Algorithm::Rs256;
    let agent = machine.start().await.unwrap();
    let algorithms: Vec<_> = agent.authority.show().await.keys.iter().map(|key| key.algorithm).collect();
    assert_eq!(algorithms, [Algorithm::Es256, Algorithm::Rs256]);
    assert_eq!(agent.sign().await.unwrap().kid, kid, "the new key has to be known first");
}

#[test]
fn a_ring_whose_records_and_keys_do_not_agree_is_damaged() {
    let terms = Machine::new().options.terms().unwrap();
    let now = Timestamp::from_seconds(START);
    let mut keys = KeyRing::begin(now, &terms);
    keys.prepare(JwtKey::generate(Algorithm::Es256).unwrap(), now);
    let good = keys.write().unwrap();
    assert!(KeyRing::read(&good).is_ok());

    let mut other_name = keys.clone();
    other_name.ring.keys[0].kid = "x".repeat(43);
    let text = other_name.write().unwrap();
    assert!(KeyRing::read(&text).is_err(), "a record without its key");
    let renamed = String::from_utf8_lossy(&good).find(&*keys.ring.keys[0].kid).unwrap();
    let mut swapped = good.to_vec();
    swapped[renamed] ^= 1;
    assert!(KeyRing::read(&swapped).is_err(), "a key under another name");
    assert!(KeyRing::read(&[&good[..], &[0]].concat()).is_err(), "something behind the end");
    for length in 0..good.len() {
        assert!(KeyRing::read(&good[..length]).is_err(), "{length} bytes");
    }
}
