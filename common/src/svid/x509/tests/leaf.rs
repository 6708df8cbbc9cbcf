//! What X509-SVID.md, section 5.2 demands of a leaf.

use super::*;
use crate::spiffe_id::SpiffeIdError;

#[test]
fn a_good_leaf_is_taken_with_its_id() {
    let root = root();
    let valid = verdict(&[root.leaf(|draft| draft)], &[&root]).unwrap();
    assert_eq!(valid.spiffe_id.as_str(), ID);
    assert_eq!((&valid.authority, valid.not_after), (&root.certificate, NOW.after(HOUR)));
}

#[test]
fn xv_2_a_leaf_that_is_an_authority_is_refused() {
    for path_length in [None, Some(0)] {
        let ca = constraints(true, path_length);
        assert_eq!(
            verdict_on_leaf(|leaf| leaf.with(BASIC_CONSTRAINTS, true, &ca)).unwrap_err(),
            X509SvidError::LeafIsAuthority
        );
    }
    // The default of cA is false (section 4.1).
    assert!(verdict_on_leaf(|leaf| leaf.without(BASIC_CONSTRAINTS)).is_ok());
    assert!(verdict_on_leaf(|leaf| leaf.with(BASIC_CONSTRAINTS, false, &constraints(false, None))).is_ok());
}

#[test]
fn xv_3_a_leaf_whose_key_may_sign_certificates_or_lists_is_refused() {
    const KEY_CERT_SIGN: u8 = 5;
    const CRL_SIGN: u8 = 6;
    for usage in [&[0, KEY_CERT_SIGN][..], &[0, CRL_SIGN], &[KEY_CERT_SIGN, CRL_SIGN]] {
        assert_eq!(
            verdict_on_leaf(|leaf| leaf.with(KEY_USAGE, true, &bits(usage))).unwrap_err(),
            X509SvidError::LeafSigns,
            "{usage:?}"
        );
    }
}

#[test]
fn xl_6_key_encipherment_and_key_agreement_are_free() {
    for usage in [&[0][..], &[0, 2], &[0, 4], &[0, 2, 4], &[0, 1, 8]] {
        assert!(verdict_on_leaf(|leaf| leaf.with(KEY_USAGE, true, &bits(usage))).is_ok(), "{usage:?}");
    }
}

#[test]
fn xl_5_xl_6_a_leaf_without_digital_signature_is_refused() {
    assert_eq!(verdict_on_leaf(|leaf| leaf.without(KEY_USAGE)).unwrap_err(), X509SvidError::KeyUsage);
    for usage in [&[][..], &[2, 4]] {
        assert_eq!(
            verdict_on_leaf(|leaf| leaf.with(KEY_USAGE, true, &bits(usage))).unwrap_err(),
            X509SvidError::KeyUsage
        );
    }
}

#[test]
fn xl_7_an_extended_key_usage_has_both_purposes_or_is_not_there() {
    for usage in [&[1, 2][..], &[2, 1], &[3, 1, 2]] {
        assert!(verdict_on_leaf(|leaf| leaf.with(EKU, false, &purposes(usage))).is_ok(), "{usage:?}");
    }
    assert!(verdict_on_leaf(|leaf| leaf.without(EKU)).is_ok());
    for usage in [&[1][..], &[2], &[3]] {
        let refused = verdict_on_leaf(|leaf| leaf.with(EKU, true, &purposes(usage))).unwrap_err();
        assert_eq!(refused, X509SvidError::ExtendedKeyUsage(Place::Chain(1)), "{usage:?}");
    }
}

#[test]
fn xv_4_the_id_of_a_trust_domain_is_no_workload() {
    let refused = verdict_on_leaf(|leaf| leaf.named(&[uri("spiffe://example.org")])).unwrap_err();
    assert_eq!(refused, X509SvidError::RootPath);
}

#[test]
fn xv_4_a_uri_that_is_no_spiffe_id_is_refused() {
    let cases = [
        ("https://example.org/orders", SpiffeIdError::Scheme),
        ("SPIFFE://example.org/orders", SpiffeIdError::Scheme),
        ("spiffe://example.org/", SpiffeIdError::EmptySegment),
        ("spiffe://example.org/a/../b", SpiffeIdError::DotSegment),
        ("spiffe://Example.org/a", SpiffeIdError::TrustDomainCharacter),
        ("spiffe://example.org:443/a", SpiffeIdError::TrustDomainCharacter),
        ("spiffe://example.org/a?b", SpiffeIdError::PathCharacter),
        ("spiffe://example.org/a\0", SpiffeIdError::PathCharacter),
        ("spiffe:///a", SpiffeIdError::EmptyTrustDomain),
        ("", SpiffeIdError::Scheme),
    ];
    for (text, expected) in cases {
        let refused = verdict_on_leaf(|leaf| leaf.named(&[uri(text)])).unwrap_err();
        assert_eq!(refused, X509SvidError::SpiffeId(expected), "{text}");
    }
}

#[test]
fn xv_5_a_leaf_has_exactly_one_uri() {
    let several = [[uri(ID), uri(ID)], [uri(ID), uri("https://example.org")], [uri("a:b"), uri(ID)]];
    for names in several {
        assert_eq!(verdict_on_leaf(|leaf| leaf.named(&names)).unwrap_err(), X509SvidError::SeveralUris);
    }
    for names in [&[][..], &[dns("example.org")]] {
        assert_eq!(verdict_on_leaf(|leaf| leaf.named(names)).unwrap_err(), X509SvidError::NoSpiffeId);
    }
    assert_eq!(verdict_on_leaf(|leaf| leaf.without(SAN)).unwrap_err(), X509SvidError::NoSpiffeId);
}

#[test]
fn xl_1_names_of_other_forms_are_free() {
    let (mail, address) = (tlv(0x81, b"a@example.org"), tlv(0x87, &[127, 0, 0, 1]));
    let names = [dns("orders.example.org"), mail, uri(ID), address, dns("*.example.org")];
    assert_eq!(verdict_on_leaf(|leaf| leaf.named(&names)).unwrap().spiffe_id.as_str(), ID);
}

#[test]
fn id_6_an_id_of_2048_bytes_passes_and_no_longer_one() {
    let of_length = |length: usize| format!("{ID}/{}", "a".repeat(length - ID.len() - 1));
    let longest = of_length(2048);
    assert_eq!(verdict_on_leaf(|leaf| leaf.named(&[uri(&longest)])).unwrap().spiffe_id.as_str(), longest);
    let refused = verdict_on_leaf(|leaf| leaf.named(&[uri(&of_length(2049))])).unwrap_err();
    assert_eq!(refused, X509SvidError::SpiffeId(SpiffeIdError::TooLong));
}

#[test]
fn id_4_trust_domains_that_look_odd_pass() {
    let root = root();
    for domain in ["1.2.3.4", "-", "_x", "a..b", ".", &"d".repeat(255)] {
        let id = format!("spiffe://{domain}/a");
        let bundle = bundle_of(domain, &[&root]);
        let valid = validate(&[root.leaf(|leaf| leaf.named(&[uri(&id)]))], NOW, |asked| {
            assert_eq!(asked.as_str(), domain);
            Some(&bundle)
        });
        assert_eq!(valid.unwrap().spiffe_id.as_str(), id);
    }
}

#[test]
fn xv_1_only_the_bundle_of_the_ids_own_trust_domain_counts() {
    let (root, other) = (root(), root_of(Key::p256(), "other", |draft| draft));
    let (own, foreign) = (bundle_of(DOMAIN, &[&root]), bundle_of("other.org", &[&other]));
    let find = |domain: &TrustDomain| [&own, &foreign].into_iter().find(|bundle| bundle.trust_domain == *domain);
    let named = |issuer: &Issuer, id: &str| [issuer.leaf(|leaf| leaf.named(&[uri(id)]))];

    assert!(validate(&named(&root, ID), NOW, find).is_ok());
    assert!(validate(&named(&other, "spiffe://other.org/a"), NOW, find).is_ok());
    // Each speaks for the other's trust domain.
    for chain in [named(&other, ID), named(&root, "spiffe://other.org/a")] {
        assert_eq!(validate(&chain, NOW, find), Err(X509SvidError::NoAuthority));
    }
    let unknown = named(&root, "spiffe://third.org/a");
    assert_eq!(validate(&unknown, NOW, find), Err(X509SvidError::TrustDomain));
    // A look-up that answers with somebody else's bundle.
    assert_eq!(validate(&unknown, NOW, |_| Some(&own)), Err(X509SvidError::TrustDomain));
}

#[test]
fn bu_4_a_bundle_without_authorities_validates_nothing() {
    let root = root();
    assert_eq!(verdict(&[root.leaf(|leaf| leaf)], &[]), Err(X509SvidError::NoAuthority));
}

#[test]
fn a_leaf_is_valid_from_its_first_to_its_last_second() {
    let root = root();
    let chain = [root.leaf(|leaf| leaf)];
    let bundle = bundle_of(DOMAIN, &[&root]);
    let at = |now| validate(&chain, now, |_| Some(&bundle)).map(|_| ());
    let (first, last) = (before(NOW, Duration::from_secs(30)), NOW.after(HOUR));
    let second = Duration::from_secs(1);
    assert_eq!((at(first), at(last)), (Ok(()), Ok(())));
    assert_eq!(at(before(first, second)), Err(X509SvidError::NotYetValid(Place::Chain(1))));
    assert_eq!(at(last.after(second)), Err(X509SvidError::Expired(Place::Chain(1))));
}

#[test]
fn times_of_either_form_and_before_1970_are_understood() {
    let far = Timestamp::from_seconds(4_000_000_000);
    let root = root_of(Key::p256(), "root", |draft| draft.but(|draft| draft.until = far));
    let long = root.leaf(|leaf| leaf.but(|leaf| leaf.until = far));
    assert_eq!(verdict(&[long], &[&root]).unwrap().not_after, far);
    let epoch = root.leaf(|leaf| leaf.but(|leaf| leaf.from = Timestamp::from_seconds(0)));
    assert!(verdict(&[epoch], &[&root]).is_ok());
}
