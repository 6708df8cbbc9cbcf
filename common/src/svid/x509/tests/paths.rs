//! RFC 5280, section 6.1: from a leaf to an authority of the bundle.

use super::*;

fn chain_of(leaf: Certificate, issuers: &[&Issuer]) -> Vec<Certificate> {
    std::iter::once(leaf).chain(issuers.iter().map(|issuer| issuer.certificate.clone())).collect()
}

/// The verdict on a leaf below an intermediate with `change`, below a root.
fn verdict_below(change: impl FnOnce(Draft) -> Draft) -> Result<ValidatedX509Svid, X509SvidError> {
    let root = root();
    let middle = root.intermediate("middle", change);
    verdict(&chain_of(middle.leaf(|leaf| leaf), &[&middle]), &[&root])
}

/// The verdict on a leaf right under a root with `change`.
fn verdict_under_root(change: impl FnOnce(Draft) -> Draft) -> Result<ValidatedX509Svid, X509SvidError> {
    let root = root_of(Key::p256(), "root", change);
    verdict(&[root.leaf(|leaf| leaf)], &[&root])
}

#[test]
fn xv_1_a_chain_leads_through_its_intermediates_in_their_order() {
    let root = root();
    let upper = root.intermediate("upper", |draft| draft);
    let lower = upper.intermediate("lowermost", |draft| draft);
    let leaf = lower.leaf(|leaf| leaf);
    let whole = chain_of(leaf.clone(), &[&lower, &upper]);
    assert_eq!(verdict(&whole, &[&root]).unwrap().authority, root.certificate);
    // An authority of the bundle need not be a root, and what comes after it is not needed.
    assert_eq!(verdict(&whole, &[&upper]).unwrap().authority, upper.certificate);
    assert_eq!(verdict(&whole[..2], &[&upper]).unwrap().authority, upper.certificate);
    // Some send the root too.
    assert!(verdict(&chain_of(leaf.clone(), &[&lower, &upper, &root]), &[&root]).is_ok());

    let wrong_order = chain_of(leaf.clone(), &[&upper, &lower]);
    assert_eq!(verdict(&wrong_order, &[&root]), Err(X509SvidError::Issuer(Place::Chain(1))));
    assert_eq!(verdict(&whole[..2], &[&root]), Err(X509SvidError::NoAuthority));
    assert_eq!(verdict(&[leaf], &[&root]), Err(X509SvidError::NoAuthority));
    assert_eq!(verdict(&[], &[&root]), Err(X509SvidError::NoCertificate));
}

#[test]
fn a_chain_that_is_not_ours_does_not_become_ours_by_a_root_that_it_brings() {
    let (root, own_root) = (root(), root_of(Key::p256(), "root", |draft| draft));
    let chain = chain_of(own_root.leaf(|leaf| leaf), &[&own_root]);
    // It has the name of ours.
    assert_eq!(verdict(&chain[..1], &[&root]), Err(X509SvidError::Signature(Place::Chain(1))));
    assert_eq!(verdict(&chain, &[&root]), Err(X509SvidError::Signature(Place::Chain(2))));
    assert!(verdict(&chain, &[&root, &own_root]).is_ok(), "the second of that name is the one");
}

#[test]
fn every_kind_of_key_that_a_bundle_may_have_is_checked() {
    for (kind, key) in Key::of_every_kind() {
        let root = root_of(key, "root", |draft| draft);
        let leaf = root.leaf(|leaf| leaf);
        assert!(verdict(std::slice::from_ref(&leaf), &[&root]).is_ok(), "{kind}");
        let mut forged = leaf.der().to_vec();
        // In the serial number.
        forged[20] ^= 1;
        let refused = verdict(&[Certificate::from_der(forged)], &[&root]).unwrap_err();
        assert_eq!(refused, X509SvidError::Signature(Place::Chain(1)), "{kind}");
    }
}

#[test]
fn an_algorithm_that_is_not_taken_is_refused() {
    // The mask's hash differs, the salt is short, the hash is SHA-224: none is in use.
    for (hash, mask, salt) in [(1, 2, 32), (1, 1, 20), (4, 4, 28)] {
        let root = root_of(Key::pss_that_says(hash, mask, salt), "root", |draft| draft);
        let refused = verdict(&[root.leaf(|leaf| leaf)], &[&root]).unwrap_err();
        assert_eq!(refused, X509SvidError::SignatureAlgorithm(Place::Chain(1)), "{hash} {mask} {salt}");
    }
    // RSA's name over a key of a curve.
    let Key::Ec(pair, _) = Key::p256() else { unreachable!() };
    let root = root_of(Key::Ec(pair, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]), "root", |draft| draft);
    let refused = verdict(&[root.leaf(|leaf| leaf)], &[&root]).unwrap_err();
    assert_eq!(refused, X509SvidError::SignatureAlgorithm(Place::Chain(1)));
}

#[test]
fn xc_2_xc_3_only_an_authority_issues() {
    assert!(verdict_below(|middle| middle).is_ok());
    let middle = X509SvidError::NotAnAuthority(Place::Chain(2));
    let no_ca = constraints(false, None);
    assert_eq!(verdict_below(|draft| draft.with(BASIC_CONSTRAINTS, true, &no_ca)).unwrap_err(), middle);
    assert_eq!(verdict_below(|draft| draft.without(BASIC_CONSTRAINTS)).unwrap_err(), middle);
    assert_eq!(verdict_below(|draft| draft.with(KEY_USAGE, true, &bits(&[0, 6]))).unwrap_err(), middle);
    assert_eq!(verdict_below(|draft| draft.without(KEY_USAGE)).unwrap_err(), middle);

    let root = X509SvidError::NotAnAuthority(Place::Authority);
    assert_eq!(verdict_under_root(|draft| draft.with(BASIC_CONSTRAINTS, true, &no_ca)).unwrap_err(), root);
    assert_eq!(verdict_under_root(|draft| draft.with(KEY_USAGE, true, &bits(&[6]))).unwrap_err(), root);
    // It is trusted for its key; RFC 5280 judges a key usage if there is one.
    assert!(verdict_under_root(|draft| draft.without(KEY_USAGE)).is_ok());
}

#[test]
fn a_workload_cannot_issue() {
    let root = root();
    let key = Key::p256();
    let workload = root.leaf(|leaf| leaf.but(|leaf| (leaf.subject, leaf.spki) = (name("workload"), key.spki())));
    let issuer = Issuer { key, name: "workload", key_id: [0x88; 20], certificate: workload };
    let chain = chain_of(issuer.leaf(|leaf| leaf.named(&[uri("spiffe://example.org/admin")])), &[&issuer]);
    assert_eq!(verdict(&chain, &[&root]), Err(X509SvidError::NotAnAuthority(Place::Chain(2))));
}

#[test]
fn an_authority_that_is_not_for_tls_does_not_issue() {
    let refused = |place| Err(X509SvidError::ExtendedKeyUsage(place));
    assert_eq!(verdict_below(|middle| middle.with(EKU, false, &purposes(&[3]))), refused(Place::Chain(2)));
    assert_eq!(verdict_under_root(|root| root.with(EKU, false, &purposes(&[1]))), refused(Place::Authority));
    assert!(verdict_below(|middle| middle.with(EKU, false, &purposes(&[1, 2]))).is_ok());
}

#[test]
fn a_path_length_is_kept() {
    let with_length =
        |length| move |draft: Draft| draft.with(BASIC_CONSTRAINTS, true, &constraints(true, Some(length)));
    assert!(verdict_below(with_length(0)).is_ok());
    let root = root_of(Key::p256(), "root", with_length(1));
    let upper = root.intermediate("upper", with_length(0));
    let lower = upper.intermediate("lowermost", |draft| draft);
    let chain = chain_of(lower.leaf(|leaf| leaf), &[&lower, &upper]);
    assert_eq!(verdict(&chain, &[&root]), Err(X509SvidError::PathLength(Place::Chain(3))));
    assert_eq!(verdict(&chain, &[&upper]), Err(X509SvidError::PathLength(Place::Authority)));
    let short = chain_of(upper.leaf(|leaf| leaf), &[&upper]);
    assert!(verdict(&short, &[&root]).is_ok());
    let root = root_of(Key::p256(), "root", with_length(0));
    let middle = root.intermediate("middle", |draft| draft);
    let chain = chain_of(middle.leaf(|leaf| leaf), &[&middle]);
    assert_eq!(verdict(&chain, &[&root]), Err(X509SvidError::PathLength(Place::Authority)));
}

#[test]
fn each_certificate_of_the_path_is_valid_now() {
    let second = Duration::from_secs(1);
    let past = |draft: Draft| draft.but(|draft| draft.until = before(NOW, second));
    let future = |draft: Draft| draft.but(|draft| draft.from = NOW.after(second));
    assert_eq!(verdict_below(past), Err(X509SvidError::Expired(Place::Chain(2))));
    assert_eq!(verdict_below(future), Err(X509SvidError::NotYetValid(Place::Chain(2))));
    assert_eq!(verdict_under_root(past), Err(X509SvidError::Expired(Place::Authority)));
    assert_eq!(verdict_under_root(future), Err(X509SvidError::NotYetValid(Place::Authority)));
    let soonest = verdict_below(|draft| draft.but(|draft| draft.until = NOW.after(second))).unwrap().not_after;
    assert_eq!(soonest, NOW.after(second));
}

#[test]
fn xc_6_constraints_of_names_that_are_in_the_chain_refuse() {
    let of = |side: u8, base: &[u8]| sequence(&[&tlv(side, &sequence(&[base]))]);
    let (permitted, excluded) = (0xa0, 0xa1);
    let with = |value: Vec<u8>, critical| move |draft: Draft| draft.with(NAME_CONSTRAINTS, critical, &value);
    for critical in [true, false] {
        for side in [permitted, excluded] {
            let value = of(side, &uri("example.org"));
            let refused = |place| Err(X509SvidError::NameConstraints(place));
            assert_eq!(verdict_below(with(value.clone(), critical)), refused(Place::Chain(2)));
            assert_eq!(verdict_under_root(with(value, critical)), refused(Place::Authority));
            // The leaf has no such name, so nothing is constrained.
            assert!(verdict_below(with(of(side, &dns("example.org")), critical)).is_ok());
        }
    }
    let root = root();
    let middle = root.intermediate("middle", with(of(permitted, &dns("example.org")), true));
    let named = middle.leaf(|leaf| leaf.named(&[uri(ID), dns("orders.example.org")]));
    assert_eq!(verdict(&chain_of(named, &[&middle]), &[&root]), Err(X509SvidError::NameConstraints(Place::Chain(2))));
    // The subject of an intermediate is a name too.
    let root = root_of(Key::p256(), "root", with(of(excluded, &tlv(0xa4, &name("x"))), true));
    let middle = root.intermediate("middle", |draft| draft);
    let chain = chain_of(middle.leaf(|leaf| leaf), &[&middle]);
    assert_eq!(verdict(&chain, &[&root]), Err(X509SvidError::NameConstraints(Place::Authority)));
}

#[test]
fn constraints_that_cannot_be_read_refuse() {
    let subtree = |base: &[u8]| sequence(&[base]);
    let values = [
        sequence(&[&tlv(0xa2, &subtree(&uri("a")))]),
        sequence(&[&tlv(0xa0, &uri("a"))]),
        sequence(&[&tlv(0xa0, &subtree(&tlv(0x0c, b"a")))]),
        sequence(&[&tlv(0xa0, &subtree(&[]))]),
        sequence(&[&tlv(0xa0, &[0x30])]),
        [sequence(&[&tlv(0xa0, &subtree(&dns("a")))]), vec![0]].concat(),
        tlv(0x31, &[]),
        vec![],
    ];
    for value in values {
        let refused = verdict_below(|draft| draft.with(NAME_CONSTRAINTS, true, &value)).unwrap_err();
        assert_eq!(refused, X509SvidError::Malformed(Place::Chain(2)), "{value:02x?}");
    }
}

#[test]
fn critical_policies_are_not_understood() {
    let policies = sequence(&[&sequence(&[&oid(&[0x2a, 3])])]);
    let explicit = sequence(&[&tlv(0x80, &[0])]);
    for (number, value) in [(POLICIES, policies), (POLICY_CONSTRAINTS, explicit)] {
        let refused = verdict_below(|draft| draft.with(number, true, &value)).unwrap_err();
        assert_eq!(refused, X509SvidError::CriticalExtension(Place::Chain(2)));
        assert!(verdict_below(|draft| draft.with(number, false, &value)).is_ok());
    }
}

#[test]
fn a_chain_has_a_longest_length() {
    let names: Vec<&'static str> = (0..16).map(|length| &"................"[..=length]).collect();
    let root = root_of(Key::p256(), "the root of all of them", |draft| draft);
    let mut issuers = vec![root.intermediate(names[0], |draft| draft)];
    for name in &names[1..] {
        issuers.push(issuers.last().unwrap().intermediate(name, |draft| draft));
    }
    let of = |intermediates: usize| {
        let below: Vec<&Issuer> = issuers[..intermediates].iter().rev().collect();
        verdict(&chain_of(issuers[intermediates - 1].leaf(|leaf| leaf), &below), &[&root])
    };
    assert!(of(15).is_ok());
    assert_eq!(of(16), Err(X509SvidError::TooMany(16)));
}

#[test]
fn an_authority_that_cannot_be_read_is_none_and_the_others_stay() {
    let root = root();
    let mut bundle = bundle_of(DOMAIN, &[&root]);
    bundle.x509_authorities.insert(0, Certificate::from_der(b"no certificate".as_slice()));
    assert!(validate(&[root.leaf(|leaf| leaf)], NOW, |_| Some(&bundle)).is_ok());
}
