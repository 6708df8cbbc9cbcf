//! Bundles of other trust domains: who is given them, and whose tokens are checked with them.

use countersign_common::bundle::{Bundle, BundleSet};

use super::fake::{FakeAgent, bundle, message, silence};
use super::*;
use crate::policy::grant_for_tests;

fn federating(with: &'static [&'static str]) -> impl Fn(&mut Entry) {
    move |entry| entry.federates_with = with.iter().map(|name| TrustDomain::parse(name).unwrap()).collect()
}

fn know(set: &mut BundleSet, known: Arc<Bundle>) {
    set.foreign.insert(known.trust_domain.clone(), known);
}

fn names(bundles: &Bundles) -> Vec<&str> {
    bundles.foreign().map(|bundle| bundle.trust_domain.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn svids_come_with_the_bundles_that_their_entries_federate_with() {
    let agent = FakeAgent::start("");
    agent.apply_changed(&mine("a", ""), federating(&["one.example", "two.example", "three.example"])).await;
    for name in ["one.example", "two.example", "other.example"] {
        agent.change_bundles(|set| know(set, bundle(name, &["root"])));
    }
    let mut stream = agent.watch().await.unwrap();
    assert_eq!(names(&message(&mut stream).await.bundles), ["one.example", "two.example"]);
    agent.change_bundles(|set| know(set, bundle("other.example", &["root", "another"])));
    silence(&mut stream).await;

    agent.change_bundles(|set| know(set, bundle("three.example", &["root"])));
    assert_eq!(names(&message(&mut stream).await.bundles), ["one.example", "three.example", "two.example"]);
    // Keys of none: everything of that trust domain is invalid, and that has to be said.
    agent.change_bundles(|set| know(set, bundle("one.example", &[])));
    let message_of_none = message(&mut stream).await;
    assert!(message_of_none.bundles.foreign().next().unwrap().x509_authorities.is_empty());
    agent.change_bundles(|set| drop(set.foreign.remove(&TrustDomain::parse("one.example").unwrap())));
    assert_eq!(names(&message(&mut stream).await.bundles), ["three.example", "two.example"]);
    agent.apply(&mine("a", "")).await;
    assert!(names(&message(&mut stream).await.bundles).is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_stream_of_bundles_is_about_one_type_of_svid() {
    let agent = FakeAgent::start("");
    agent.apply_changed(&mine("a", ""), federating(&["one.example"])).await;
    agent.change_bundles(|set| know(set, bundle("one.example", &["root"])));
    let peer = Peer::of_this_process();
    let mut jwt = agent.identity.watch_bundles(&peer, Authorities::Jwt).await.unwrap();
    let mut x509 = agent.identity.watch_bundles(&peer, Authorities::X509).await.unwrap();
    for stream in [&mut jwt, &mut x509] {
        let first = message(stream).await;
        assert_eq!((first.own().trust_domain.as_str(), names(&first)), ("example.org", vec!["one.example"]));
    }
    agent.change_bundles(|set| know(set, bundle("one.example", &["root", "another"])));
    assert_eq!(message(&mut x509).await.foreign().next().unwrap().x509_authorities.len(), 2);
    silence(&mut jwt).await;
    agent.change_bundles(|set| set.own = bundle("example.org", &["root 2"]));
    assert_eq!(message(&mut x509).await.own().x509_authorities.len(), 1);
    silence(&mut jwt).await;
    let events: BTreeSet<_> = agent.audit().iter().map(|record| record["event"].to_string()).collect();
    assert_eq!(events, BTreeSet::from(["\"jwt_bundles\"".to_owned(), "\"x509_bundles\"".to_owned()]));
    // What was not said was not recorded either.
    assert_eq!(agent.audit().len(), 4, "{:?}", agent.audit());
}

/// A token of another trust domain, and that one's bundle.
async fn partners_token() -> (String, Arc<Bundle>, DrainTrigger) {
    let trust_domain = TrustDomain::parse("partner.example").unwrap();
    let (trigger, drain) = drain::channel();
    let store = Store::in_memory(&trust_domain).unwrap();
    let clock = Arc::new(Stepped(Mutex::new(NOON)));
    let authority = EmbeddedAuthority::start(store, None, options(trust_domain), clock, drain).await.unwrap();
    let id = SpiffeId::parse("spiffe://partner.example/a").unwrap();
    let token =
        authority.sign_jwt(&grant_for_tests(id, vec!["us".to_owned()], Duration::from_secs(60), None)).await.unwrap();
    let own = Arc::clone(&authority.bundles().borrow().own);
    (token.token.expose().to_owned(), own, trigger)
}

#[tokio::test(start_paused = true)]
async fn a_foreign_token_is_checked_only_for_who_federates_with_its_trust_domain() {
    let (token, partner, _trigger) = partners_token().await;
    let agent = FakeAgent::start(&mine("a", ""));
    let peer = Peer::of_this_process();
    let validate = async || agent.identity.validate_jwt_svid(&peer, "us", &token).await;
    let refusals = async |why: &str| {
        let refused = validate().await.expect_err(why);
        assert!(matches!(refused, ValidationError::Token(_)), "{why}: {refused}");
        refused.to_string()
    };
    let not_known = refusals("no bundle is known").await;
    agent.apply_changed(&mine("a", ""), federating(&["partner.example"])).await;
    assert_eq!(refusals("still no bundle").await, not_known);
    agent.change_bundles(|set| know(set, partner.clone()));
    assert_eq!(validate().await.unwrap().spiffe_id.as_str(), "spiffe://partner.example/a");
    assert!(agent.identity.validate_jwt_svid(&peer, "them", &token).await.is_err(), "another audience");

    agent.apply_changed(&mine("a", ""), federating(&["other.example"])).await;
    assert_eq!(refusals("it federates with another").await, not_known);
    agent.apply("").await;
    assert_eq!(refusals("it has no entry").await, not_known);
    agent.apply_changed(&mine("a", ""), federating(&["partner.example"])).await;
    agent.change_bundles(|set| Arc::make_mut(set.foreign.values_mut().next().unwrap()).jwt_authorities.clear());
    assert!(validate().await.is_err(), "keys of none make nothing valid");
    assert_eq!(agent.audit().iter().filter(|record| record["outcome"] == "valid").count(), 1);
}
