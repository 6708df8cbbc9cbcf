//! The decision about X509-SVIDs: what is refused and why, and all of it in its plainest words.

use super::*;
use crate::policy::{X509Grant, authorize_x509};

fn decide(entry: &Entry) -> Result<X509Grant, PolicyRefusal> {
    authorize_x509(&attestation(&["unix:uid:1", "unix:gid:1"]), entry, &LIMITS, NOW)
}

fn refusal(entry: &Entry) -> String {
    decide(entry).unwrap_err().to_string()
}

#[test]
fn a_grant_carries_the_terms_of_its_entry_and_the_process() {
    let mut entry = entry();
    entry.jwt = JwtTerms::default();
    entry.expires = Date::parse("2090-01-01");
    entry.x509.dns_names = owned(&["orders.internal", "orders"]).into();
    let grant = decide(&entry).unwrap();
    assert_eq!(grant.entry(), &entry.id);
    assert_eq!(grant.instance().pid, 77);
    assert_eq!(grant.spiffe_id(), &entry.spiffe_id);
    assert_eq!(grant.dns_names(), ["orders.internal", "orders"]);
    assert_eq!(grant.ttl(), LIMITS.default_x509_ttl);
    assert_eq!(grant.not_after(), entry.expires.map(Date::begins));
}

#[test]
fn an_entry_that_does_not_match_is_refused_whoever_says_that_it_does() {
    let mut entry = entry();
    entry.selectors = demanding("unix:path:/bin/orders");
    assert!(refusal(&entry).starts_with("entry orders-api demands unix:path:/bin/orders, "));
    entry.selectors = SelectorSet::default();
    assert!(refusal(&entry).starts_with("entry orders-api has no selectors, "));
}

#[test]
fn an_entry_past_its_last_day_grants_none() {
    let mut entry = entry();
    entry.expires = Date::parse("2027-01-01");
    assert!(refusal(&entry).starts_with("entry orders-api expired on 2027-01-01; "));
}

#[test]
fn xl_2_the_id_of_the_trust_domain_gets_none() {
    let entry = Entry { spiffe_id: SpiffeId::parse("spiffe://example.org").unwrap(), ..entry() };
    assert_eq!(
        refusal(&entry),
        "entry orders-api grants the SPIFFE ID of the trust domain itself, for which there is no X509-SVID; give it a \
         path"
    );
}

#[test]
fn a_broken_or_unjudged_rule_about_the_image_is_refused_as_for_tokens() {
    let on = |entry: &Entry, verdict| {
        let attestation = attestation(&["unix:uid:1"]).with_image(ImageRule::Traced, verdict);
        authorize_x509(&attestation, entry, &LIMITS, NOW)
    };
    let broken = || Some(Verdict::Broken("it is traced".to_owned()));
    assert!(on(&entry(), broken()).unwrap_err().to_string().starts_with("it is traced; "));
    assert!(on(&entry(), Some(Verdict::Unjudged("no answer".to_owned()))).unwrap_err().is_undecided());
    assert!(on(&entry(), None).unwrap_err().is_undecided());
    assert!(on(&Entry { allow: [ImageRule::Traced].into(), ..entry() }, broken()).is_ok());
}

#[test]
fn terms_that_leave_no_life_are_refused() {
    let mut entry = entry();
    entry.x509.ttl = Some(Duration::from_millis(999));
    assert_eq!(
        refusal(&entry),
        "entry orders-api and the agent's limits leave an X509-SVID less than a second of life; raise x509.ttl of the \
         entry, or the agent's limits"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn agrees_with_its_plainest_words(
        (held, demanded) in (any_selectors(), any_selectors()),
        id in prop::sample::select(vec!["spiffe://example.org", "spiffe://example.org/a", "spiffe://example.org/a/b"]),
        ttl in prop::option::of(0..20_u64),
        day in prop::sample::select(vec![None, Date::parse("2020-01-01"), Date::parse("2090-01-01")]),
        (default, max) in (0..20_u64, 0..20_u64),
    ) {
        let terms = X509Terms { ttl: ttl.map(Duration::from_secs), dns_names: Box::default() };
        let spiffe_id = SpiffeId::parse(id).unwrap();
        let entry = Entry { selectors: demanded.clone().into(), spiffe_id, x509: terms, expires: day, ..entry() };
        let seconds = Duration::from_secs;
        let limits = Limits { default_x509_ttl: seconds(default), max_x509_ttl: seconds(max), ..LIMITS };
        let texts: Vec<String> = held.iter().map(ToString::to_string).collect();
        let attestation = attestation(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let decided = authorize_x509(&attestation, &entry, &limits, NOW).ok();

        let entitled = !demanded.is_empty() && demanded.iter().all(|selector| held.contains(selector));
        let in_force = day.is_none_or(|day| NOW < day.begins());
        let life = ttl.unwrap_or(default).min(max);
        let expected = entitled && in_force && id.len() > "spiffe://example.org".len() && life > 0;
        prop_assert_eq!(decided.as_ref().map(X509Grant::ttl), expected.then_some(seconds(life)));
        if let Some(grant) = decided {
            prop_assert_eq!(grant.not_after(), day.map(Date::begins));
        }
    }
}
