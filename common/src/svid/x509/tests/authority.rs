//! What an authority's certificate of our own says: X509-SVID.md, sections 3.2, 4.1 and 4.3.

use super::*;

fn check(change: impl FnOnce(Draft) -> Draft) -> Result<(), X509SvidError> {
    check_authority(&root_of(Key::p256(), "root", change).certificate, &TrustDomain::parse(DOMAIN).unwrap())
}

/// The rule that a certificate with `change` breaks.
fn broken(change: impl FnOnce(Draft) -> Draft) -> &'static str {
    match check(change) {
        Err(X509SvidError::Profile(rule)) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_right_is_published() {
    assert_eq!(check(|root| root), Ok(()));
    let (root, domain) = (root(), TrustDomain::parse(DOMAIN).unwrap());
    let middle = root.intermediate("middle", |draft| draft.with(BASIC_CONSTRAINTS, true, &constraints(true, Some(0))));
    assert_eq!(check_authority(&middle.certificate, &domain), Ok(()));
}

#[test]
fn xc_1_it_has_the_spiffe_id_of_the_trust_domain_and_no_other_name() {
    let other = "its SPIFFE ID is not that of the trust domain";
    assert_eq!(broken(|root| root.named(&[uri("spiffe://other.org")])), other);
    assert_eq!(broken(|root| root.named(&[uri("spiffe://example.org/ca")])), other);
    let beside = "it has another name beside the SPIFFE ID of the trust domain";
    assert_eq!(broken(|root| root.named(&[uri("spiffe://example.org"), dns("example.org")])), beside);
    assert_eq!(check(|root| root.without(SAN)), Err(X509SvidError::NoSpiffeId));
    assert_eq!(
        check(|root| root.but(|root| (root.subject, root.issuer) = (name(""), name("x")))),
        Err(X509SvidError::Profile("its subject is empty"))
    );
}

#[test]
fn xc_2_basic_constraints_are_critical_and_true() {
    let no_authority = Err(X509SvidError::NotAnAuthority(Place::Alone));
    assert_eq!(check(|root| root.without(BASIC_CONSTRAINTS)), no_authority);
    assert_eq!(check(|root| root.with(BASIC_CONSTRAINTS, true, &constraints(false, None))), no_authority);
    let rule = "it has no critical BasicConstraints with cA true";
    assert_eq!(broken(|root| root.with(BASIC_CONSTRAINTS, false, &constraints(true, None))), rule);
}

#[test]
fn xc_3_xc_4_c4_the_key_usage_is_critical_and_exactly_those_two() {
    let rule = "it has no critical KeyUsage of exactly keyCertSign and cRLSign";
    assert_eq!(broken(|root| root.without(KEY_USAGE)), rule);
    assert_eq!(broken(|root| root.with(KEY_USAGE, false, &bits(&[5, 6]))), rule);
    for usage in [&[5][..], &[0, 5, 6], &[2, 5, 6], &[4, 5, 6]] {
        assert_eq!(broken(|root| root.with(KEY_USAGE, true, &bits(usage))), rule, "{usage:?}");
    }
    let no_authority = Err(X509SvidError::NotAnAuthority(Place::Alone));
    assert_eq!(check(|root| root.with(KEY_USAGE, true, &bits(&[6]))), no_authority);
}

#[test]
fn it_has_no_extended_key_usage_and_nothing_else() {
    assert_eq!(broken(|root| root.with(EKU, false, &purposes(&[1, 2]))), "it has an ExtendedKeyUsage");
    let rule = "it has an extension that is not put into certificates here";
    assert_eq!(broken(|root| root.with(99, false, b"anything")), rule);
    assert_eq!(broken(|root| root.with(NAME_CONSTRAINTS, true, &sequence(&[]))), rule);
    assert_eq!(broken(|root| root.without(SKI)), "it has no subject key id");
    assert_eq!(broken(|root| root.but(|root| root.until = root.from)), "it ends before it begins");
    let rule = "its serial number is not a positive integer of at most 20 octets";
    assert_eq!(broken(|root| root.but(|root| root.serial = vec![0xff; 16])), rule);
}

#[test]
fn a_root_is_signed_by_its_own_key() {
    let draft = authority_draft("root", &Key::p256(), [1; 20]);
    let foreign = draft.signed(&Key::p256());
    let domain = TrustDomain::parse(DOMAIN).unwrap();
    assert_eq!(check_authority(&foreign, &domain), Err(X509SvidError::Signature(Place::Alone)));
}

#[test]
fn an_anchor_is_an_authority_of_any_name_whose_key_is_taken() {
    let anchor = |change: fn(Draft) -> Draft| check_anchor(&root_of(Key::p256(), "root", change).certificate);
    assert_eq!(anchor(|root| root.without(KEY_USAGE).without(SAN).without(SKI)), Ok(()));
    assert_eq!(anchor(|root| root.with(KEY_USAGE, true, &bits(&[0, 5]))), Ok(()));
    let none = Err(X509SvidError::NotAnAuthority(Place::Alone));
    assert_eq!(anchor(|root| root.with(KEY_USAGE, true, &bits(&[0, 6]))), none);
    assert_eq!(anchor(|root| root.without(BASIC_CONSTRAINTS)), none);
    let ed25519 = sequence(&[&sequence(&[&oid(&[0x2b, 0x65, 0x70])]), &tlv(0x03, &[0; 33])]);
    let key = Key::p256();
    let of_another_type = authority_draft("root", &key, [1; 20]).but(|root| root.spki = ed25519).signed(&key);
    assert_eq!(check_anchor(&of_another_type), Err(X509SvidError::SignatureAlgorithm(Place::Alone)));
    for (kind, key) in Key::of_every_kind() {
        assert_eq!(check_anchor(&root_of(key, "root", |root| root).certificate), Ok(()), "{kind}");
    }
}
