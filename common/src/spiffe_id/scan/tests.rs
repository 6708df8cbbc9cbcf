//! Every rule of the grammar, and what looks odd but is legal.

use proptest::prelude::*;

use super::SpiffeIdError as E;
use crate::spiffe_id::{SpiffeId, TrustDomain};

#[test]
fn names_that_look_odd_but_are_legal() {
    for name in ["1.2.3.4", "-", "_x", "a..b", ".", "..", "example.org", "a"] {
        assert_eq!(TrustDomain::parse(name).map(|d| d.id().to_string()), Ok(format!("spiffe://{name}")));
    }
    for path in ["/...", "/.hidden", "/a..b", "/A/b/C", "/-", "/_"] {
        let uri = format!("spiffe://td{path}");
        let id = SpiffeId::parse(&uri).unwrap();
        assert_eq!((id.path(), id.as_str()), (path, uri.as_str()));
        assert_eq!(id.trust_domain().as_str(), "td");
    }
}

#[test]
fn each_rule_has_its_refusal() {
    let long_domain = format!("spiffe://{}", "a".repeat(256));
    let long_id = format!("spiffe://td/{}", "a".repeat(2049 - 12));
    for (uri, rule) in [
        ("", E::Scheme),
        ("td/x", E::Scheme),
        ("http://td/x", E::Scheme),
        ("SPIFFE://td/x", E::Scheme),
        ("spiffe:/td", E::Scheme),
        ("spiffe://", E::EmptyTrustDomain),
        ("spiffe:///x", E::EmptyTrustDomain),
        ("spiffe://TD/x", E::TrustDomainCharacter),
        ("spiffe://td:/x", E::TrustDomainCharacter),
        ("spiffe://td:80/x", E::TrustDomainCharacter),
        ("spiffe://@td/x", E::TrustDomainCharacter),
        ("spiffe://u@td/x", E::TrustDomainCharacter),
        ("spiffe://t%64/x", E::TrustDomainCharacter),
        ("spiffe://[::1]/x", E::TrustDomainCharacter),
        ("spiffe://tđ/x", E::TrustDomainCharacter),
        ("spiffe://td?q", E::TrustDomainCharacter),
        ("spiffe://td#f", E::TrustDomainCharacter),
        ("spiffe://td/", E::EmptySegment),
        ("spiffe://td/a/", E::EmptySegment),
        ("spiffe://td//a", E::EmptySegment),
        ("spiffe://td/./a", E::DotSegment),
        ("spiffe://td/a/..", E::DotSegment),
        ("spiffe://td/a%2e", E::PathCharacter),
        ("spiffe://td/a?q", E::PathCharacter),
        ("spiffe://td/a#f", E::PathCharacter),
        ("spiffe://td/a b", E::PathCharacter),
        ("spiffe://td/ä", E::PathCharacter),
        (long_domain.as_str(), E::TrustDomainTooLong),
        (long_id.as_str(), E::TooLong),
    ] {
        assert_eq!(SpiffeId::parse(uri), Err(rule), "{uri}");
    }
}

#[test]
fn the_longest_legal_id_and_name_pass() {
    let id = format!("spiffe://td/{}", "a".repeat(2048 - 12));
    assert_eq!(SpiffeId::parse(&id).map(|id| id.as_str().len()), Ok(2048));
    assert!(TrustDomain::parse(&"a".repeat(255)).is_ok());
}

proptest! {
    #[test]
    fn a_parsed_id_is_its_parts(domain in "[a-z0-9._-]{1,40}", segments in prop::collection::vec("[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,9}", 0..6)) {
        let path: String = segments.iter().map(|s| format!("/{s}")).collect();
        let id = SpiffeId::parse(&format!("spiffe://{domain}{path}")).unwrap();
        prop_assert_eq!(id.path(), path);
        let domain = TrustDomain::parse(&domain).unwrap();
        prop_assert!(id.is_of(&domain));
        prop_assert_eq!(id.trust_domain(), domain);
    }

    #[test]
    fn what_parses_is_in_the_alphabet_and_stays_as_it_was(text in "(spiffe://)?[ -~äß]{0,30}") {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.as_str(), &text);
            prop_assert!(!text.contains(['%', '?', '#', '@', ':', ' ']) || text.matches(':').count() == 1);
        }
    }
}
