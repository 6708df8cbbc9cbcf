//! Entries as operators write them. Refusals have their golden texts in `tests/malformed`.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::entry::{JwtTerms, X509Terms};

const WHOLE: &str = "\
id: orders-api                      # chosen by the operator
spiffe_id: spiffe://example.org/orders/api
selectors:
  - unix:uid:1001
  - unix:path:/usr/bin/orders
allow: [traced, foreign_code]
jwt:
  audiences: [billing, \"https://sts.example.com\", \"stock/*\"]
  max_audiences: 2
  ttl: {stock/*: 30s, default: 5m}
  bind: none
x509: {ttl: 1h, dns_names: [orders.internal, \"*.orders.internal\"]}
hint: internal
federates_with: [partner.example, 10.0.0.1]
owner: team-orders
review_by: 2027-03-01
expires: 2027-09-01
";

const LEAST: &str = "id: a\nspiffe_id: spiffe://example.org/a\nselectors: [unix:uid:0]\n";

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

#[test]
fn every_field_is_read() {
    let entries = parse_entries("a.yaml", WHOLE, Some(&domain())).unwrap();
    let [entry] = entries.as_slice() else { panic!("one document is one entry") };
    assert_eq!(entry.id.as_str(), "orders-api");
    assert_eq!(entry.spiffe_id.path(), "/orders/api");
    let selectors: Vec<_> = entry.selectors.iter().map(|selector| selector.to_string()).collect();
    assert_eq!(selectors, ["unix:uid:1001", "unix:path:/usr/bin/orders"]);
    assert_eq!(entry.allow, [ImageRule::Traced, ImageRule::ForeignCode].into());
    let audiences: Vec<_> = entry.jwt.audiences.iter().collect();
    assert_eq!(audiences, ["billing", "https://sts.example.com", "stock/*"]);
    assert_eq!((entry.jwt.max_audiences, entry.jwt.ttl), (2, Some(Duration::from_secs(300))));
    let lives: Vec<_> =
        entry.jwt.audience_ttl.iter().map(|(pattern, life)| (pattern.as_str(), life.as_secs())).collect();
    assert_eq!(lives, [("stock/*", 30)]);
    assert_eq!(entry.x509.ttl, Some(Duration::from_secs(3600)));
    assert_eq!(*entry.x509.dns_names, ["orders.internal", "*.orders.internal"], "in the order of the file");
    let others: Vec<_> = entry.federates_with.iter().map(TrustDomain::as_str).collect();
    assert_eq!(others, ["10.0.0.1", "partner.example"]);
    assert_eq!((entry.hint.as_deref(), entry.owner.as_deref()), (Some("internal"), Some("team-orders")));
    let days = (entry.review_by.unwrap().to_string(), entry.expires.unwrap().to_string());
    assert_eq!(days, ("2027-03-01".to_owned(), "2027-09-01".to_owned()));
}

#[test]
fn what_is_left_out_has_its_default_and_grants_no_token() {
    let entries = parse_entries("a.yaml", LEAST, None).unwrap();
    assert_eq!(entries[0].jwt, JwtTerms::default());
    assert_eq!((entries[0].jwt.audiences.is_empty(), entries[0].jwt.max_audiences), (true, 1));
    assert_eq!((&entries[0].hint, entries[0].expires), (&None, None));
    assert_eq!((&entries[0].x509, entries[0].federates_with.len()), (&X509Terms::default(), 0));
    assert!(entries[0].allow.is_empty(), "nothing is lifted unasked");
}

#[test]
fn json_is_read_as_well() {
    let json = r#"{"id": "a", "spiffe_id": "spiffe://example.org/a", "selectors": ["unix:uid:0"], "allow": ["deleted"],
                   "jwt": {"audiences": ["x"], "max_audiences": 1, "ttl": "1m"}}"#;
    let entries = parse_entries("a.json", json, None).unwrap();
    assert_eq!(entries[0].jwt.ttl, Some(Duration::from_secs(60)));
    assert_eq!(entries[0].allow, [ImageRule::Deleted].into());
}

#[test]
fn a_text_without_entries_is_a_legal_set() {
    for text in ["", "# none yet\n", "---\n"] {
        assert_eq!(parse_entries("a.yaml", text, None), Ok(vec![]), "{text:?}");
    }
}

#[test]
fn the_trust_domain_is_checked_only_where_it_is_known() {
    let other = LEAST.replace("example.org", "example.com");
    assert!(parse_entries("a.yaml", &other, None).is_ok());
    assert!(parse_entries("a.yaml", &other, Some(&domain())).is_err());
}

#[test]
fn an_entry_does_not_federate_with_its_own_trust_domain() {
    let federating = |with: &str| format!("{LEAST}federates_with: [{with}]\n");
    let said = |text: &str, domain: Option<&TrustDomain>| {
        parse_entries("a.yaml", text, domain).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let own =
        "a.yaml:4: federates_with[0]: \"example.org\" is the entry's own trust domain, whose bundle it has anyway";
    // Known of the entry where it is not known of the agent.
    assert_eq!(said(&federating("example.org"), None), [own]);
    assert_eq!(said(&federating("example.org"), Some(&domain())), [own]);
    assert!(parse_entries("a.yaml", &federating("org, example.org.partner"), None).is_ok());
    let no_id = federating("example.org").replace("spiffe_id: ", "spiffe_id: http");
    assert_eq!(said(&no_id, Some(&domain()))[1], own);
}

#[test]
fn lists_have_an_end_and_lives_have_bounds() {
    let of = |field: &str| parse_entries("a.yaml", &format!("{LEAST}{field}\n"), None);
    let names = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>().join(", ");
    for (field, is_taken) in [
        (format!("x509: {{dns_names: [{}]}}", names(32)), true),
        (format!("x509: {{dns_names: [{}]}}", names(33)), false),
        (format!("federates_with: [{}]", names(100)), true),
        (format!("federates_with: [{}]", names(101)), false),
        ("x509: {ttl: 1m}".to_owned(), true),
        ("x509: {ttl: 59s}".to_owned(), false),
        ("x509: {ttl: 30d}".to_owned(), true),
        ("x509: {ttl: 30d 1s}".to_owned(), false),
        ("x509: {ttl: 90s 1ms}".to_owned(), false),
        ("x509: {}".to_owned(), true),
    ] {
        assert_eq!(of(&field).is_ok(), is_taken, "{field}: {:?}", of(&field));
    }
}

#[test]
fn an_id_stands_once_in_all_files() {
    let second = format!("# another file\n{LEAST}");
    let problems = parse_sources(&[("a.yaml", LEAST), ("b.yaml", &second)], None).unwrap_err();
    let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["b.yaml:2: id: \"a\" is the id of another entry, at a.yaml:1"]);
    let other = LEAST.replace("id: a", "id: b");
    assert_eq!(parse_sources(&[("a.yaml", LEAST), ("b.yaml", &other)], None).unwrap().len(), 2);
}

#[test]
fn problems_of_the_syntax_and_of_the_fields_are_told_together() {
    let text = format!("{LEAST}hint: &x \"\"\nowner: \"\"\n---\nid: [\n");
    let problems = parse_entries("a.yaml", &text, None).unwrap_err();
    let lines: Vec<_> = problems.iter().map(|problem| (problem.line, problem.field.as_str())).collect();
    assert_eq!(lines[..2], [(4, "hint"), (5, "owner")], "{problems:?}");
    assert_eq!(lines.len(), 3, "{problems:?}");
}

#[test]
fn a_text_of_more_than_4_mib_is_refused() {
    let text = format!("{LEAST}#{}\n", "x".repeat(4 << 20));
    let problems = parse_entries("a.yaml", &text, None).unwrap_err();
    assert!(problems[0].reason.contains("more than 4 MiB"), "{problems:?}");
}

proptest! {
    /// One byte of a good text replaced, removed or doubled: an answer, whatever it is.
    #[test]
    fn no_damage_makes_the_reader_panic(at in 0..WHOLE.len(), with in "[\\PC\n\t]{0,3}", cut in 0_usize..3) {
        let end = (at + cut).min(WHOLE.len());
        let text = format!("{}{with}{}", &WHOLE[..at], &WHOLE[end..]);
        let _ = parse_entries("a.yaml", &text, Some(&domain()));
    }
}
