//! X.509 authorities by schedule and under clocks that misbehave, and what a leaf says.

use countersign_common::svid::x509::Certificate;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::policy::x509_grant_for_tests;

/// A leaf's public key.
pub(super) fn public_key() -> Vec<u8> {
    use rcgen::PublicKeyData;
    rcgen::KeyPair::generate().unwrap().subject_public_key_info()
}

pub(super) fn x509_grant(ttl: Duration) -> X509Grant {
    let id = SpiffeId::parse("spiffe://example.org/orders/api").unwrap();
    x509_grant_for_tests(id, vec!["orders.internal".to_owned()], ttl)
}

impl Running {
    pub(super) async fn leaf(&self) -> Result<SignedX509, AuthorityError> {
        self.authority.sign_x509(&x509_grant(HOUR), &public_key()).await
    }

    pub(super) async fn x509_states(&self) -> Vec<KeyState> {
        self.authority.show().await.x509.keys.into_iter().map(|key| key.state).collect()
    }
}

/// Whether a verifier that holds `bundle` accepts the SVID at `now`: each certificate is signed by
/// the next, the last by one of the bundle, and all are valid.
pub(super) fn is_trusted(svid: &SignedX509, bundle: &Bundle, now: Timestamp) -> bool {
    let parse = |certificate: &Certificate| {
        let der: &'static [u8] = certificate.der().to_vec().leak();
        X509Certificate::from_der(der).unwrap().1
    };
    let at = x509_parser::time::ASN1Time::from_timestamp(i64::try_from(now.seconds()).unwrap()).unwrap();
    let chain: Vec<_> = svid.chain.iter().map(parse).collect();
    let signed = |below: &X509Certificate<'_>, above: &X509Certificate<'_>| {
        below.issuer() == above.subject() && below.verify_signature(Some(above.public_key())).is_ok()
    };
    let links = chain.windows(2).all(|pair| signed(&pair[0], &pair[1]));
    let anchors = bundle.x509_authorities.iter().map(parse);
    let anchored =
        anchors.filter(|anchor| anchor.validity().is_valid_at(at)).any(|a| signed(chain.last().unwrap(), &a));
    links && anchored && chain.iter().all(|certificate| certificate.validity().is_valid_at(at))
}

#[tokio::test]
async fn xl_1_to_xl_7_a_leaf_says_what_the_grant_says_and_verifies_with_the_bundle() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let key = public_key();
    let svid = agent.authority.sign_x509(&x509_grant(HOUR), &key).await.unwrap();
    assert!(is_trusted(&svid, &agent.bundle(), machine.now()));
    assert_eq!((svid.not_before.seconds(), svid.not_after.seconds()), (START - 30, START + 3600));
    assert_eq!(svid.chain.len(), 1, "the root is not in it");
    let (_, leaf) = X509Certificate::from_der(svid.chain[0].der()).unwrap();
    assert_eq!(leaf.public_key().raw, key);
    assert_eq!(leaf.validity().not_before.timestamp(), i64::try_from(START - 30).unwrap());
    assert_eq!(leaf.validity().not_after.timestamp(), i64::try_from(START + 3600).unwrap());
    assert_eq!(leaf.raw_serial().len(), 16);
    assert_eq!(svid.serial, x509_key::hex(leaf.raw_serial()));
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical && leaf.subject().iter().next().is_none());
    let said: Vec<_> = names.value.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["URI(spiffe://example.org/orders/api)", "DNSName(orders.internal)"]);
    let view = agent.authority.show().await;
    assert_eq!(view.x509.keys[0].id, svid.authority);
    assert!(view.x509.keys[0].ends > machine.now());
}

#[tokio::test]
async fn id_6_an_id_of_2048_bytes_passes_through() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let prefix = "spiffe://example.org/";
    let id = format!("{prefix}{}", "a".repeat(2048 - prefix.len()));
    let grant = x509_grant_for_tests(SpiffeId::parse(&id).unwrap(), vec![], HOUR);
    let svid = agent.authority.sign_x509(&grant, &public_key()).await.unwrap();
    assert!(is_trusted(&svid, &agent.bundle(), machine.now()));
}

#[tokio::test]
async fn no_two_leaves_share_a_serial_number_even_for_one_key() {
    let agent = Machine::new().start().await.unwrap();
    let key = public_key();
    let (one, two) = (
        agent.authority.sign_x509(&x509_grant(HOUR), &key).await.unwrap(),
        agent.authority.sign_x509(&x509_grant(HOUR), &key).await.unwrap(),
    );
    assert_ne!(one.serial, two.serial);
}

#[tokio::test]
async fn no_leaf_without_time_without_a_path_or_for_what_is_no_key() {
    let agent = Machine::new().start().await.unwrap();
    let over = agent.authority.sign_x509(&x509_grant(Duration::ZERO), &public_key()).await;
    assert!(matches!(over, Err(AuthorityError::GrantOver)));
    let root = x509_grant_for_tests(TrustDomain::parse("example.org").unwrap().id(), vec![], HOUR);
    let refused = agent.authority.sign_x509(&root, &public_key()).await;
    assert!(matches!(refused, Err(AuthorityError::X509Product(_))));
    for key in [&b""[..], b"not a key", &[0x30, 0x00]] {
        let refused = agent.authority.sign_x509(&x509_grant(HOUR), key).await;
        assert!(matches!(refused, Err(AuthorityError::Crypto(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn fe_14_an_authority_is_published_before_it_signs_and_until_its_leaves_are_gone() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let first = agent.leaf().await.unwrap();
    let week = 7 * 24 * HOUR;
    machine.clock.forward(week - 25 * MINUTE);
    // Moved on by a request for a token: its key's time was over long ago.
    agent.sign().await.unwrap();
    assert_eq!(agent.x509_states().await, [KeyState::Active, KeyState::Prepared]);
    assert_eq!(agent.bundle().x509_authorities.len(), 2);
    let sequence = agent.bundle().sequence;
    assert_eq!(agent.leaf().await.unwrap().authority, first.authority);

    machine.clock.forward(25 * MINUTE - Duration::from_secs(1));
    let last = agent.authority.sign_x509(&x509_grant(24 * HOUR), &public_key()).await.unwrap();
    assert_eq!(last.authority, first.authority);
    assert_eq!(last.not_after, machine.now().after(24 * HOUR), "the longest leaf fits");
    machine.clock.forward(Duration::from_secs(1));
    let second = agent.leaf().await.unwrap();
    assert_ne!(second.authority, first.authority);
    assert_eq!(agent.x509_states().await, [KeyState::Retiring, KeyState::Active]);
    machine.clock.forward(24 * HOUR - Duration::from_secs(1));
    agent.sign().await.unwrap();
    assert!(is_trusted(&last, &agent.bundle(), last.not_after));
    machine.clock.forward(10 * MINUTE);
    the_keeper_wakes(&agent).await;
    assert_eq!(agent.x509_states().await, [KeyState::Active]);
    assert!(agent.bundle().sequence > sequence, "it rises also when one goes");
    assert!(!is_trusted(&first, &agent.bundle(), first.not_before));
}

#[tokio::test]
async fn authorities_survive_a_crash() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    agent.authority.prepare(&Kind::ALL).await.unwrap();
    let (leaf, view, bundle) = (agent.leaf().await.unwrap(), agent.authority.show().await, agent.bundle());
    drop(agent);
    machine.clock.forward(MINUTE);
    let agent = machine.start().await.unwrap();
    assert_eq!((agent.authority.show().await, agent.bundle()), (view, bundle));
    assert!(is_trusted(&leaf, &agent.bundle(), machine.now()));
    assert_eq!(agent.leaf().await.unwrap().authority, leaf.authority);
}

#[tokio::test(start_paused = true)]
async fn d6_a_machine_that_slept_for_weeks_signs_with_an_authority_in_its_time() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let before = agent.leaf().await.unwrap();
    for asleep in [3 * HOUR, 8 * 24 * HOUR, 60 * 24 * HOUR] {
        machine.clock.forward(asleep);
        // No timer has fired: the runtime's time stood still meanwhile.
        let after = agent.leaf().await.unwrap();
        assert!(is_trusted(&after, &agent.bundle(), machine.now()), "{asleep:?}");
        assert_eq!(after.authority == before.authority, asleep < 24 * HOUR);
    }
}

#[tokio::test(start_paused = true)]
async fn d6_a_clock_that_goes_back_and_forth_leaves_an_agent_whose_leaves_are_valid() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let at_start = agent.leaf().await.unwrap();
    machine.clock.back(4 * MINUTE);
    assert_eq!(agent.leaf().await.unwrap().authority, at_start.authority, "a small correction costs nothing");
    machine.clock.forward(4 * MINUTE);
    for jump in [3 * HOUR, 24 * HOUR, 40 * 365 * 24 * HOUR] {
        machine.clock.back(jump);
        let early = agent.leaf().await.unwrap();
        assert!(is_trusted(&early, &agent.bundle(), machine.now()), "back by {jump:?}");
        machine.clock.forward(jump);
        let late = agent.leaf().await.unwrap();
        assert!(is_trusted(&late, &agent.bundle(), machine.now()), "forth by {jump:?}");
    }
    // After a restart as well.
    drop(agent);
    machine.clock.back(30 * 24 * HOUR);
    let agent = machine.start().await.unwrap();
    assert!(is_trusted(&agent.leaf().await.unwrap(), &agent.bundle(), machine.now()));
}

#[tokio::test(start_paused = true)]
async fn d6_a_full_disk_leaves_the_old_authority_signing_until_its_end_and_not_longer() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let ends = agent.authority.show().await.x509.keys[0].ends;
    machine.record.full.store(true, Ordering::SeqCst);
    machine.clock.forward(8 * 24 * HOUR - 10 * MINUTE);
    let clamped = agent.leaf().await.unwrap();
    assert_eq!(clamped.not_after, ends, "no leaf outlives the authority that signed it");
    machine.clock.forward(12 * MINUTE);
    assert!(matches!(agent.leaf().await, Err(AuthorityError::NoActiveKey)));
    machine.record.full.store(false, Ordering::SeqCst);
    tokio::time::advance(10 * MINUTE).await;
    let recovered = agent.leaf().await.unwrap();
    assert_ne!(recovered.authority, clamped.authority);
    assert!(is_trusted(&recovered, &agent.bundle(), machine.now()));
}

#[tokio::test]
async fn a_life_below_that_of_a_leaf_is_refused() {
    let mut machine = Machine::new();
    machine.options.x509_key_life = HOUR;
    assert!(matches!(machine.refusal().await, AuthorityError::Options(_)));
    machine.options.max_x509_ttl = Duration::ZERO;
    assert!(matches!(machine.refusal().await, AuthorityError::Options(_)));
}
