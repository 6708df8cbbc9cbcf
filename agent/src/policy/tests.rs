//! What is refused and why, and the whole decision against its plainest words.

mod x509;

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_common::clock::Timestamp;
use countersign_common::entry::{AudiencePattern, Date, Entry, EntryId, ImageRule, JwtTerms, X509Terms};
use countersign_common::selector::{Selector, SelectorSet};
use countersign_common::spiffe_id::SpiffeId;
use proptest::prelude::*;

use super::{Grant, Limits, PolicyRefusal, authorize_jwt, check_image};
use crate::attest::{Attestation, Verdict, attestation_for_tests};
use crate::peer::{Credentials, FileIdentity, ProcessInstance};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const LIMITS: Limits = Limits {
    default_jwt_ttl: Duration::from_secs(300),
    max_jwt_ttl: Duration::from_secs(3600),
    default_x509_ttl: Duration::from_secs(3600),
    max_x509_ttl: Duration::from_secs(86400),
    lifted: BTreeSet::new(),
};

fn attestation(selectors: &[&str]) -> Attestation {
    let executable = FileIdentity { dev: 1, ino: 2, size: 3, mtime_ns: 4, ctime_ns: 5 };
    let selectors = selectors.iter().map(|text| text.parse().unwrap()).collect();
    attestation_for_tests(
        ProcessInstance { pid: 77, start_time: 8, executable },
        Credentials { uid: 1, gid: 1 },
        selectors,
    )
}

fn patterns(texts: &[&str]) -> Vec<AudiencePattern> {
    texts.iter().map(|text| AudiencePattern::parse(text).unwrap()).collect()
}

/// The selectors of [`entry`] and one more.
fn demanding(another: &str) -> SelectorSet {
    SelectorSet::from(["unix:uid:1", another].map(|text| text.parse().unwrap()))
}

/// An entry for uid 1 with the audiences `billing` and `stock/*`, two in a token.
fn entry() -> Entry {
    Entry {
        id: EntryId::parse("orders-api").unwrap(),
        spiffe_id: SpiffeId::parse("spiffe://example.org/orders/api").unwrap(),
        selectors: ["unix:uid:1".parse().unwrap()].into(),
        allow: Box::default(),
        jwt: JwtTerms {
            audiences: patterns(&["billing", "stock/*"]).iter().collect(),
            max_audiences: 2,
            ..JwtTerms::default()
        },
        x509: X509Terms::default(),
        federates_with: Box::default(),
        hint: None,
        owner: None,
        review_by: None,
        expires: None,
    }
}

fn owned(audiences: &[&str]) -> Vec<String> {
    audiences.iter().map(|&audience| audience.to_owned()).collect()
}

fn decide(entry: &Entry, audiences: &[&str]) -> Result<Grant, PolicyRefusal> {
    authorize_jwt(&attestation(&["unix:uid:1", "unix:gid:1"]), entry, &owned(audiences), &LIMITS, NOW)
}

fn refusal(entry: &Entry, audiences: &[&str]) -> String {
    decide(entry, audiences).unwrap_err().to_string()
}

#[test]
fn a_grant_carries_the_terms_of_its_entry_and_the_process() {
    let mut entry = entry();
    entry.expires = Date::parse("2090-01-01");
    let grant = decide(&entry, &["stock/a", "billing", "stock/a"]).unwrap();
    assert_eq!(grant.entry(), &entry.id);
    assert_eq!(grant.instance().pid, 77);
    assert_eq!(grant.spiffe_id(), &entry.spiffe_id);
    assert_eq!(grant.audiences(), ["stock/a", "billing"]);
    assert_eq!(grant.ttl(), LIMITS.default_jwt_ttl);
    assert_eq!(grant.not_after(), entry.expires.map(Date::begins));
}

#[test]
fn t1_audiences_that_the_entry_does_not_list_are_refused() {
    let long = "a".repeat(1024 * 1024);
    let many: Vec<String> = (0..10_000).map(|n| format!("stock/{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (audiences, said) in [
        (&[][..], "the workload asked for no audience; it has to name the one that it will call"),
        (&[""], "the workload asked for an empty audience; it has to name the one that it will call"),
        (&["billing", ""], "the workload asked for an empty audience; it has to name the one that it will call"),
        (&[&long], "the workload asked for an audience of 1048576 bytes; the longest is 1024 bytes"),
        (
            &many,
            "the workload asked for 10000 audiences in one JWT-SVID and entry orders-api allows 2; \
             let it fetch one JWT-SVID for each, or raise jwt.max_audiences",
        ),
        (
            &["Billing"],
            "entry orders-api does not allow the audience \"Billing\"; \
             add it to jwt.audiences if the workload should have it",
        ),
        (
            &["billing", "x\n"],
            "entry orders-api does not allow the audience \"x\\n\"; \
             add it to jwt.audiences if the workload should have it",
        ),
    ] {
        assert_eq!(refusal(&entry(), audiences), said);
    }
    for near in ["billing/", "bill", "billing ", "stock", "stock/", "stock//a", "stocks/a", "b\u{456}lling"] {
        let not_allowed = matches!(decide(&entry(), &[near]), Err(PolicyRefusal::AudienceNotAllowed { .. }));
        assert!(not_allowed, "{near:?}");
    }
}

#[test]
fn repetitions_count_once() {
    assert_eq!(decide(&entry(), &["billing"; 500]).unwrap().audiences(), ["billing"]);
}

#[test]
fn an_entry_without_audiences_grants_none() {
    let mut entry = entry();
    entry.jwt = JwtTerms { max_audiences: 1, ..JwtTerms::default() };
    assert_eq!(
        refusal(&entry, &["billing"]),
        "entry orders-api lists no audiences, so it grants no JWT-SVIDs; list them in jwt.audiences"
    );
}

#[test]
fn an_entry_that_does_not_match_is_refused_whoever_says_that_it_does() {
    let mut entry = entry();
    entry.selectors = demanding("unix:path:/bin/orders");
    assert_eq!(
        refusal(&entry, &["billing"]),
        "entry orders-api demands unix:path:/bin/orders, which the process does not have; \
         register an entry with selectors that the process has"
    );
    entry.selectors = SelectorSet::default();
    assert_eq!(
        refusal(&entry, &["billing"]),
        "entry orders-api has no selectors, so it is nobody's; give it at least one"
    );
}

#[test]
fn an_entry_past_its_last_day_grants_none() {
    let mut entry = entry();
    entry.expires = Date::parse("2027-01-01");
    assert_eq!(
        refusal(&entry, &["billing"]),
        "entry orders-api expired on 2027-01-01; move its expires to a later day, or delete it"
    );
}

/// What becomes of a request of a process that holds `selectors`, with this verdict on one rule.
fn decide_on(entry: &Entry, rule: ImageRule, verdict: Option<Verdict>) -> Result<Grant, PolicyRefusal> {
    let selectors: Vec<_> = entry.selectors.iter().map(|selector| selector.to_string()).collect();
    let attestation = attestation(&selectors.iter().map(String::as_str).collect::<Vec<_>>());
    authorize_jwt(&attestation.with_image(rule, verdict), entry, &owned(&["billing"]), &LIMITS, NOW)
}

#[test]
fn a_broken_rule_is_refused_by_its_name_and_lifted_by_its_word_alone() {
    let mut by_path = entry();
    by_path.selectors = demanding("unix:path:/bin/orders");
    for rule in ImageRule::ALL {
        let broken = || Some(Verdict::Broken("it does".to_owned()));
        let refused = decide_on(&by_path, rule, broken()).unwrap_err().to_string();
        assert!(refused.starts_with("it does; "), "{refused}");
        let lifting = format!(", or lift the rule in entry orders-api if that is meant: allow: [{rule}]");
        assert!(refused.ends_with(&lifting), "{refused}");

        let lifts = |rules: &[ImageRule]| Entry { allow: rules.iter().copied().collect(), ..by_path.clone() };
        assert!(decide_on(&lifts(&[rule]), rule, broken()).is_ok());
        let others: Vec<_> = ImageRule::ALL.into_iter().filter(|other| *other != rule).collect();
        assert!(decide_on(&lifts(&others), rule, broken()).is_err(), "{rule}");
        assert!(check_image(&attestation(&[]).with_image(rule, broken()), &by_path, &[rule].into()).is_ok());
    }
}

#[test]
fn a_rule_that_nobody_judged_is_not_kept() {
    let mut by_digest = entry();
    by_digest.selectors = demanding(&format!("unix:sha256:{}", "0".repeat(64)));
    for rule in ImageRule::ALL {
        let refused = decide_on(&by_digest, rule, Some(Verdict::Unjudged("no answer".to_owned()))).unwrap_err();
        assert!(refused.is_undecided());
        assert_eq!(
            refused.to_string(),
            format!(
                "cannot tell whether the process keeps the rule {rule}, which entry orders-api does not lift: no answer"
            )
        );
        assert!(decide_on(&by_digest, rule, None).unwrap_err().is_undecided(), "{rule}");
        let lifts = Entry { allow: [rule].into(), ..by_digest.clone() };
        assert!(decide_on(&lifts, rule, None).is_ok());
    }
}

#[test]
fn foreign_code_matters_to_an_entry_that_says_which_image_it_means() {
    let broken = || Some(Verdict::Broken("it does".to_owned()));
    assert!(decide_on(&entry(), ImageRule::ForeignCode, broken()).is_ok());
    assert!(decide_on(&entry(), ImageRule::ForeignCode, None).is_ok());
}

#[test]
fn terms_that_leave_no_life_are_refused() {
    let mut entry = entry();
    entry.jwt.ttl = Some(Duration::from_millis(999));
    assert_eq!(
        refusal(&entry, &["billing"]),
        "entry orders-api and the agent's limits leave a JWT-SVID less than a second of life; \
         raise jwt.ttl of the entry, or the agent's limits"
    );
}

#[test]
fn a_long_audience_is_cut_in_the_refusal() {
    let said = refusal(&entry(), &[&"\u{e9}".repeat(500)]);
    assert!(said.contains("\u{e9}\"...; add it"), "{said}");
    assert!(said.len() < 400, "{said}");
}

fn any_selectors() -> impl Strategy<Value = BTreeSet<Selector>> {
    prop::collection::btree_set((0..3u32).prop_map(|n| format!("unix:gid:{n}").parse().unwrap()), 0..3)
}

/// Patterns and audiences out of few, so that they meet.
const PATTERNS: [&str; 5] = ["a", "b", "s/*", "s/t/*", "s/t"];

fn any_audiences() -> impl Strategy<Value = Vec<String>> {
    let few = prop::sample::select(vec!["a", "b", "s/t", "s/t/u", "s/x", "", "s/", "z"]);
    prop::collection::vec(few.prop_map(str::to_owned), 0..5)
}

fn any_terms() -> impl Strategy<Value = JwtTerms> {
    let listed = prop::sample::subsequence(PATTERNS.to_vec(), 0..=5);
    let seconds = || prop::option::of(0..20u64);
    (listed, 1..4u32, seconds(), prop::collection::vec(seconds(), 5)).prop_map(|(listed, max_audiences, ttl, lives)| {
        let audiences = patterns(&listed);
        let own = audiences.iter().cloned().zip(lives);
        JwtTerms {
            max_audiences,
            ttl: ttl.map(Duration::from_secs),
            audience_ttl: own.filter_map(|(p, life)| Some((p, Duration::from_secs(life?)))).collect(),
            audiences: audiences.iter().collect(),
        }
    })
}

/// The decision in its plainest words: audiences and life, or nothing.
fn decide_naively(
    held: &BTreeSet<Selector>,
    entry: &Entry,
    requested: &[String],
    limits: &Limits,
) -> Option<(Vec<String>, Duration)> {
    let mut audiences: Vec<String> = Vec::new();
    let mut ttl = limits.max_jwt_ttl;
    for audience in requested {
        let allowed = entry.jwt.audiences.allow(audience);
        if audience.is_empty() || !allowed {
            return None;
        }
        let own = entry.jwt.audience_ttl.iter().filter(|(pattern, _)| pattern.allows(audience));
        let own: Vec<Duration> = own.map(|(_, life)| *life).collect();
        if own.is_empty() {
            ttl = ttl.min(entry.jwt.ttl.unwrap_or(limits.default_jwt_ttl));
        }
        ttl = own.into_iter().fold(ttl, Duration::min);
        if !audiences.contains(audience) {
            audiences.push(audience.clone());
        }
    }
    let entitled = !entry.selectors.is_empty() && entry.selectors.iter().all(|selector| selector.is_in(held));
    let in_force = entry.expires.is_none_or(|day| NOW < day.begins());
    let counted = (1..=entry.jwt.max_audiences as usize).contains(&audiences.len());
    (entitled && in_force && counted && ttl.as_secs() > 0).then_some((audiences, ttl))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn agrees_with_its_plainest_words(
        (held, demanded) in (any_selectors(), any_selectors()),
        terms in any_terms(),
        requested in any_audiences(),
        day in prop::sample::select(vec![None, Date::parse("2020-01-01"), Date::parse("2090-01-01")]),
        (default, max) in (0..20u64, 0..20u64),
    ) {
        let entry = Entry { selectors: demanded.into(), jwt: terms, expires: day, ..entry() };
        let limits = Limits { default_jwt_ttl: Duration::from_secs(default), max_jwt_ttl: Duration::from_secs(max), ..LIMITS };
        let texts: Vec<String> = held.iter().map(ToString::to_string).collect();
        let attestation = attestation(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let decided = authorize_jwt(&attestation, &entry, &requested, &limits, NOW).ok();
        let found = decided.as_ref().map(|grant| (grant.audiences().to_vec(), grant.ttl()));
        prop_assert_eq!(found, decide_naively(&held, &entry, &requested, &limits));
        if let Some(grant) = decided {
            prop_assert_eq!(grant.not_after(), day.map(Date::begins));
        }
    }
}
