//! The state at rest: sealed, complete, and never replaced in silence.

use countersign_common::secret::SecretBytes;

use super::*;
use crate::authority::embedded::keeper::AtRest;
use crate::authority::embedded::key_ring::NewKey;
use crate::authority::embedded::private_key::PrivateKey;
use crate::authority::embedded::record::Validity;
use crate::authority::embedded::sealed::Form;

fn saved(machine: &Machine) -> Vec<u8> {
    machine.record.saved.lock().unwrap().clone().expect("something was saved")
}

#[tokio::test]
async fn keys_sequence_and_times_survive_a_crash() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
        let mut machine = Machine::new();
        machine.options.algorithm = algorithm;
        let agent = machine.start().await.unwrap();
        agent.authority.prepare(&Kind::ALL).await.unwrap();
        agent.authority.activate(&Kind::ALL).await.unwrap();
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
    agent.authority.prepare(&Kind::ALL).await.unwrap();
    let bytes = saved(&machine);

    let record: Arc<dyn StateRecord> = Arc::clone(&machine.record) as _;
    let at_rest = AtRest { record, sealing_key: machine.sealing_key.clone() };
    let keys = at_rest.load(&machine.options.trust_domain, None).await.unwrap().unwrap();
    let (_, plain) = form::write(&keys).unwrap();
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
    agent.authority.prepare(&Kind::ALL).await.unwrap();
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
    let algorithms: Vec<_> = agent.authority.show().await.jwt.keys.iter().map(|key| key.algorithm).collect();
    assert_eq!(algorithms, ["ES256", "RS256"]);
    assert_eq!(agent.sign().await.unwrap().kid, kid, "the new key has to be known first");
}

/// Both rings with a key each, without an agent.
fn keys_in_hand() -> (KeyRing, Timestamp) {
    let options = Machine::new().options;
    let now = Timestamp::from_seconds(START);
    let mut keys = KeyRing::begin(now, &options.terms().unwrap());
    keys.prepare(NewKey::Jwt(JwtKey::generate(Algorithm::Es256, None).unwrap()), now);
    let wanted = Validity { from: now, until: now.after(HOUR) };
    keys.prepare(NewKey::X509(X509Key::generate(&options.trust_domain, None, wanted, None).unwrap()), now);
    (keys, now)
}

#[test]
fn rings_whose_records_and_keys_do_not_agree_are_damaged() {
    let (keys, now) = keys_in_hand();
    let read = |text: &[u8]| form::read(Form::Second, text, None);
    let written = |keys: &KeyRing| form::write(keys).unwrap().1;
    let good = written(&keys);
    assert_eq!(read(&good).unwrap().rings, keys.rings);

    let mut other_name = keys.clone();
    other_name.rings.jwt.keys[0].id = "x".repeat(43);
    assert!(read(&written(&other_name)).is_err(), "a record without its key");
    for id in [&keys.rings.jwt.keys[0].id, &keys.rings.x509.keys[0].id] {
        let renamed = String::from_utf8_lossy(&good).find(id.as_str()).unwrap();
        let mut swapped = good.to_vec();
        swapped[renamed] ^= 1;
        assert!(read(&swapped).is_err(), "a key under another name");
    }
    let mut other_time = keys.clone();
    other_time.rings.x509.keys[0].validity = Some(Validity { from: now, until: now.after(2 * HOUR) });
    assert!(read(&written(&other_time)).is_err(), "another end than its certificate's");
    let mut elsewhere = keys.clone();
    elsewhere.rings.jwt.keys[0].held_in = HeldIn::Pkcs11;
    assert!(read(&written(&elsewhere)).is_err(), "a key that is said to be in a token, and is here");
    let (others, _) = keys_in_hand();
    let mut other_key = keys.clone();
    other_key.x509.insert(keys.rings.x509.keys[0].id.clone(), others.x509.values().next().unwrap().clone());
    assert!(read(&written(&other_key)).is_err(), "another authority's certificate and key");
    assert!(read(&[&good[..], &[0]].concat()).is_err(), "something behind the end");
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "{length} bytes");
    }
    assert!(form::read(Form::First, &good, None).is_err(), "the form is what it says it is");
}

#[test]
fn a_key_of_a_token_is_not_looked_for_without_one() {
    for at_rest in [&b"pkcs11:"[..], b"pkcs11:0123456789abcdef", b"pkcs11:more than a name has"] {
        let read = PrivateKey::read(SecretBytes::new(at_rest.to_vec()), Algorithm::Es256, None);
        assert_eq!(read.err(), Some(StateError::NoToken));
    }
    let read = PrivateKey::read(SecretBytes::new(b"pkcs1".to_vec()), Algorithm::Es256, None);
    assert!(read.is_ok_and(|key| matches!(key, PrivateKey::Here(_))), "whether it is a key, its reader finds");
}

#[tokio::test]
async fn what_the_version_before_wrote_is_read_and_gets_an_x509_authority() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let token = agent.sign().await.unwrap();
    let before = agent.bundle();
    drop(agent);
    let record: Arc<dyn StateRecord> = Arc::clone(&machine.record) as _;
    let at_rest = AtRest { record, sealing_key: machine.sealing_key.clone() };
    let keys = at_rest.load(&machine.options.trust_domain, None).await.unwrap().unwrap();
    let sealing_key = machine.sealing_key.clone().unwrap();
    let old = sealed::seal(&sealing_key, &machine.options.trust_domain, form::write_first(&keys)).unwrap();
    *machine.record.saved.lock().unwrap() = Some(old);

    let agent = machine.start().await.unwrap();
    assert_eq!(agent.bundle().jwt_authorities, before.jwt_authorities);
    assert_eq!(agent.sign().await.unwrap().kid, token.kid);
    assert_eq!(agent.bundle().sequence, before.sequence + 1);
    assert_eq!(agent.bundle().x509_authorities.len(), 1);
    assert_ne!(agent.bundle().x509_authorities, before.x509_authorities);
    assert_eq!(saved(&machine)[4], 2, "and is written in the latest form from then on");
}

#[tokio::test]
async fn what_a_later_version_wrote_is_refused() {
    let machine = Machine::new();
    drop(machine.start().await.unwrap());
    machine.record.saved.lock().unwrap().as_mut().unwrap()[4] = 4;
    let refused = machine.refusal().await;
    assert!(matches!(refused, AuthorityError::State(StateError::Format { found: 4 })), "{refused}");
}
