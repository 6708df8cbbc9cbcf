//! The shape of the design, and: what is written is read back to the same entry.

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::entry::{AudiencePattern, Date, EntryId, ImageRule, X509Terms, check_dns_name, parse_entries};
use crate::selector::{Selector, SelectorKind};
use crate::spiffe_id::{SpiffeId, TrustDomain};

#[test]
fn the_shape_is_that_of_files_by_hand() {
    let yaml = "\
id: orders-api
spiffe_id: spiffe://example.org/orders/api
selectors:
  - unix:uid:1001
  - unix:path:/usr/bin/orders
allow: [memfd, writable_executable]
jwt:
  audiences: [billing, \"https://sts.example.com\", stock/*]
  max_audiences: 1
  ttl: {stock/*: 30s, default: 5m}
x509:
  ttl: 1h
  dns_names: [orders.internal, \"*.orders.internal\", \"no\"]
federates_with: [\"10.0.0.1\", \"no\", partner.example]
hint: internal
owner: \"team \\\"orders\\\"\"
review_by: 2027-03-01
expires: 2027-09-01
";
    let entries = parse_entries("a.yaml", yaml, None).unwrap();
    assert_eq!(to_yaml(&entries[0]), yaml);
}

#[test]
fn terms_that_grant_nothing_are_left_out() {
    let yaml = "id: a\nspiffe_id: spiffe://example.org/a\nselectors:\n  - unix:uid:0\n";
    assert_eq!(to_yaml(&parse_entries("a.yaml", yaml, None).unwrap()[0]), yaml);
}

/// Texts that are hard on YAML, without control characters.
fn awkward() -> impl Strategy<Value = String> {
    prop_oneof!["[!-~]{1,40}", "[^\\p{Cc}]{1,40}", "true|null|~|no|1e3|0x1f|2027-01-01|- a|a: b|a #b|,|\\[\\{|x:"]
        .prop_filter("too long", |text| text.len() <= 1024)
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        any::<u32>().prop_map(|uid| Selector::new(SelectorKind::UnixUid, &uid.to_string())),
        awkward().prop_map(|name| Selector::new(SelectorKind::UnixUser, &name)),
        awkward().prop_map(|path| Selector::new(SelectorKind::UnixPath, &format!("/{path}"))),
        "[0-9a-f]{64}".prop_map(|hash| Selector::new(SelectorKind::UnixSha256, &hash)),
    ]
    .prop_map(Result::unwrap)
}

fn pattern() -> impl Strategy<Value = AudiencePattern> {
    prop_oneof![awkward(), "[a-z]{1,8}(/[a-z]{1,8}){0,3}(/\\*)?", "https://[a-z]{1,8}\\.example"]
        .prop_filter_map("not a pattern", |text| AudiencePattern::parse(&text).ok())
        .prop_filter("the word for the rest", |pattern| pattern.as_str() != REST)
}

fn life() -> impl Strategy<Value = Duration> {
    (10_u64..=86400).prop_map(Duration::from_secs)
}

fn terms() -> impl Strategy<Value = JwtTerms> {
    (btree_map(pattern(), option::of(life()), 0..5), 1_u32..=100, option::of(life())).prop_map(
        |(audiences, max_audiences, ttl)| JwtTerms {
            audiences: audiences.keys().collect(),
            max_audiences,
            ttl,
            audience_ttl: audiences.into_iter().filter_map(|(pattern, life)| Some((pattern, life?))).collect(),
        },
    )
}

/// DNS names and trust domains that a reader of YAML may take for something else.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}(\\.[a-z0-9]{1,8}){0,3}", "no|true|null|1e3|0x1f|y", "[a-z0-9]{1,4}"]
}

fn x509_terms() -> impl Strategy<Value = X509Terms> {
    let ttl = (60_u64..=30 * 86400).prop_map(Duration::from_secs);
    let dns_name = (any::<bool>(), name().prop_filter("an address", |name| check_dns_name(name).is_ok()))
        .prop_map(|(is_open, name)| if is_open { format!("*.{name}") } else { name });
    let dns_names = btree_set(dns_name, 0..5).prop_map(|names| names.into_iter().collect::<Vec<_>>()).prop_shuffle();
    (option::of(ttl), dns_names).prop_map(|(ttl, dns_names)| X509Terms { ttl, dns_names: dns_names.into() })
}

fn trust_domain() -> impl Strategy<Value = TrustDomain> {
    prop_oneof![name(), "[a-z0-9._-]{1,12}"]
        .prop_filter("its own", |name| name != "example.org")
        .prop_map(|name| TrustDomain::parse(&name).unwrap())
}

fn day() -> impl Strategy<Value = Date> {
    (1970_u32..9999, 1_u32..=12, 1_u32..=28)
        .prop_map(|(year, month, day)| Date::parse(&format!("{year:04}-{month:02}-{day:02}")).unwrap())
}

prop_compose! {
    fn entry()(
        id in "[a-zA-Z0-9._/-]{1,128}",
        path in "[a-zA-Z0-9_-]{1,20}(/[a-zA-Z0-9_-]{1,20}){0,4}",
        selectors in btree_set(selector(), 1..6),
        allow in proptest::sample::subsequence(ImageRule::ALL.to_vec(), 0..=ImageRule::ALL.len()),
        jwt in terms(),
        x509 in x509_terms(),
        federates_with in btree_set(trust_domain(), 0..4),
        words in (option::of(awkward()), option::of(awkward())),
        days in (option::of(day()), option::of(day())),
    ) -> Entry {
        Entry {
            id: EntryId::parse(&id).unwrap(),
            spiffe_id: SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap(),
            selectors: selectors.into(),
            allow: allow.into_iter().collect(),
            jwt,
            x509,
            federates_with: federates_with.into_iter().collect(),
            hint: words.0.map(Into::into),
            owner: words.1.map(Into::into),
            review_by: days.0,
            expires: days.1,
        }
    }
}

proptest! {
    #[test]
    fn an_entry_that_is_written_is_read_back_the_same(entry in entry()) {
        let yaml = to_yaml(&entry);
        prop_assert_eq!(parse_entries("a.yaml", &yaml, None), Ok(vec![entry]), "{}", yaml);
    }

    #[test]
    fn entries_are_joined_as_documents(entries in proptest::collection::vec(entry(), 0..4)) {
        let mut entries = entries;
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        entries.dedup_by(|a, b| a.id == b.id);
        let yaml: String = entries.iter().map(|entry| format!("---\n{}", to_yaml(entry))).collect();
        prop_assert_eq!(parse_entries("a.yaml", &yaml, None), Ok(entries));
    }
}
