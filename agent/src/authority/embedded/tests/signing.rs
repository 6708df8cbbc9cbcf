//! What a signed token says, and what is not signed.

use super::*;

#[tokio::test]
async fn jt_6_jt_7_jt_9_a_token_says_what_the_grant_says_and_verifies_with_the_bundle() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
        let mut machine = Machine::new();
        machine.options.algorithm = algorithm;
        machine.options.issuer = Some("https://issuer.example.org".into());
        let agent = machine.start().await.unwrap();
        let svid = agent.sign().await.unwrap();
        let bundle = Bundle::parse(machine.options.trust_domain.clone(), &agent.bundle().to_jwks()).unwrap();
        let valid = validate(svid.token.expose(), "billing", machine.now(), |_| Some(&bundle)).unwrap();
        assert_eq!(valid.spiffe_id.as_str(), "spiffe://example.org/orders/api");
        assert_eq!(valid.claims["aud"], serde_json::json!(["billing"]));
        assert_eq!((&valid.claims["iat"], &valid.claims["nbf"]), (&START.into(), &START.into()));
        assert_eq!(valid.claims["exp"], START + 300);
        assert_eq!(valid.claims["iss"], "https://issuer.example.org");
        assert_eq!(valid.claims["jti"].as_str().unwrap().len(), 22);
        assert_eq!(svid.kid, bundle.jwt_authorities[0].kid);
    }
}

#[tokio::test]
async fn no_two_tokens_share_a_name() {
    let agent = Machine::new().start().await.unwrap();
    let (one, two) = (agent.sign().await.unwrap(), agent.sign().await.unwrap());
    assert_ne!(one.claims.jti, two.claims.jti);
    assert_ne!(one.token.expose(), two.token.expose());
}

#[tokio::test]
async fn a_token_never_outlives_its_grant() {
    let machine = Machine::new();
    let agent = machine.start().await.unwrap();
    let until = |seconds| Some(Timestamp::from_seconds(START + seconds));
    let sign = |not_after| {
        let grant = grant(5 * MINUTE, not_after);
        let authority = Arc::clone(&agent.authority);
        async move { authority.sign_jwt(&grant).await }
    };
    assert_eq!(sign(until(30)).await.unwrap().claims.exp.seconds(), START + 30);
    assert_eq!(sign(until(9000)).await.unwrap().claims.exp.seconds(), START + 300);
    assert!(matches!(sign(until(0)).await, Err(AuthorityError::GrantOver)));
    let no_time = agent.authority.sign_jwt(&grant(Duration::ZERO, None)).await;
    assert!(matches!(no_time, Err(AuthorityError::GrantOver)));
}

#[tokio::test]
async fn a_product_that_breaks_a_rule_does_not_leave() {
    let agent = Machine::new().start().await.unwrap();
    let id = SpiffeId::parse("spiffe://example.org/orders/api").unwrap();
    let nobody = grant_for_tests(id.clone(), vec![], MINUTE, None);
    assert!(matches!(agent.authority.sign_jwt(&nobody).await, Err(AuthorityError::Product(_))));
    let too_long = grant_for_tests(id.clone(), vec!["a".repeat(20_000)], MINUTE, None);
    assert!(matches!(agent.authority.sign_jwt(&too_long).await, Err(AuthorityError::Product(_))));
    let root = grant_for_tests(TrustDomain::parse("example.org").unwrap().id(), vec!["billing".into()], MINUTE, None);
    assert!(matches!(agent.authority.sign_jwt(&root).await, Err(AuthorityError::Product(_))));
}

#[tokio::test]
async fn unfit_options_are_refused() {
    let mut machine = Machine::new();
    machine.options.algorithm = Algorithm::Ps256;
    assert!(matches!(machine.refusal().await, AuthorityError::Options(_)));
    machine = Machine::new();
    machine.options.key_life = MINUTE;
    assert!(matches!(machine.refusal().await, AuthorityError::Options(_)));
    machine = Machine::new();
    machine.options.refresh_hint = Duration::ZERO;
    assert!(matches!(machine.refusal().await, AuthorityError::Options(_)));
}
