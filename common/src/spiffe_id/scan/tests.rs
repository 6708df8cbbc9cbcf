//! SPIFFE-ID.md, section by section: every rule of the grammar, and what looks odd but is legal.

use proptest::prelude::*;

use super::SpiffeIdError as E;
use crate::spiffe_id::{SpiffeId, TrustDomain};

fn refused(rule: E, ids: &[&str]) {
    for id in ids {
        assert_eq!(SpiffeId::parse(id), Err(rule), "{id}");
    }
}

#[test]
fn section_2_the_scheme_is_spiffe_and_there_is_neither_query_nor_fragment() {
    refused(E::Scheme, &["", "td/x", "http://td/x", "spiffe:/td", "spiffe:td/x", "SPIFFE://td/x", " spiffe://td/x"]);
    refused(E::TrustDomainCharacter, &["spiffe://td?q", "spiffe://td#f"]);
    refused(E::PathCharacter, &["spiffe://td/a?q", "spiffe://td/a#f", "spiffe://td/a?", "spiffe://td/a#"]);
}

#[test]
fn section_2_1_a_trust_domain_is_not_empty_and_has_neither_user_nor_port() {
    refused(E::EmptyTrustDomain, &["spiffe://", "spiffe:///x"]);
    let user_or_port = ["spiffe://td:/x", "spiffe://td:80/x", "spiffe://@td/x", "spiffe://u@td/x", "spiffe://u:p@td/x"];
    refused(E::TrustDomainCharacter, &user_or_port);
}

#[test]
fn section_2_1_a_trust_domain_is_lower_case_without_percent_encoding() {
    refused(E::TrustDomainCharacter, &["spiffe://TD/x", "spiffe://t%64/x", "spiffe://tđ/x", "spiffe://t d/x"]);
    refused(E::TrustDomainCharacter, &["spiffe://[::1]/x"]);
}

#[test]
fn section_2_1_a_name_is_not_judged_by_looking_like_dns_or_an_address() {
    for name in ["1.2.3.4", "-", "_x", "a..b", ".", "..", "-a-", "example.org.", "a"] {
        assert_eq!(TrustDomain::parse(name).map(|d| d.id().to_string()), Ok(format!("spiffe://{name}")));
    }
}

#[test]
fn section_2_2_a_path_has_no_empty_or_dot_segments_and_no_trailing_slash() {
    refused(E::EmptySegment, &["spiffe://td/", "spiffe://td/a/", "spiffe://td//a", "spiffe://td/a//b"]);
    refused(E::DotSegment, &["spiffe://td/.", "spiffe://td/./a", "spiffe://td/..", "spiffe://td/a/.."]);
}

#[test]
fn section_2_2_a_path_has_letters_digits_dot_dash_underscore_and_no_percent_encoding() {
    refused(
        E::PathCharacter,
        &["spiffe://td/a%2e", "spiffe://td/a b", "spiffe://td/ä", "spiffe://td/a:b", "spiffe://td/a\0"],
    );
    for path in ["/...", "/.hidden", "/a..b", "/A/b/C", "/-", "/_", "/0"] {
        let uri = format!("spiffe://td{path}");
        let id = SpiffeId::parse(&uri).unwrap();
        assert_eq!((id.path(), id.as_str(), id.trust_domain().as_str()), (path, uri.as_str(), "td"));
    }
}

#[test]
fn section_2_3_up_to_2048_bytes_and_a_trust_domain_of_up_to_255() {
    let id = |length: usize| format!("spiffe://td/{}", "a".repeat(length - 12));
    assert_eq!(SpiffeId::parse(&id(2048)).map(|id| id.as_str().len()), Ok(2048));
    refused(E::TooLong, &[&id(2049)]);
    assert!(TrustDomain::parse(&"a".repeat(255)).is_ok());
    refused(E::TrustDomainTooLong, &[&format!("spiffe://{}", "a".repeat(256))]);
}

#[test]
fn section_2_4_paths_differ_by_case() {
    assert_ne!(SpiffeId::parse("spiffe://td/a"), SpiffeId::parse("spiffe://td/A"));
}

#[test]
fn section_2_2_the_id_of_a_trust_domain_has_no_path() {
    let domain = TrustDomain::parse("td").unwrap();
    assert_eq!((domain.id().as_str(), domain.id().path()), ("spiffe://td", ""));
    assert_eq!(SpiffeId::parse("spiffe://td"), Ok(domain.id()));
}

proptest! {
    #[test]
    fn a_parsed_id_is_its_parts(
        domain in "[a-z0-9._-]{1,40}",
        segments in prop::collection::vec("[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,9}", 0..6),
    ) {
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
            let rest = &text["spiffe://".len()..];
            prop_assert!(rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)));
        }
    }
}
