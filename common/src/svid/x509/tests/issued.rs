//! What is issued here: X509-SVID.md, sections 2 to 4, and the narrower form that strict readers take.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};

use super::*;

/// What is to be issued.
struct Wanted {
    id: SpiffeId,
    dns_names: Vec<String>,
    serial: String,
}

/// The verdict on a chain as the SVID that was to be issued under `authority`.
fn check(chain: &[Certificate], authority: &Issuer, change: impl FnOnce(&mut Wanted)) -> Result<(), X509SvidError> {
    let mut wanted = Wanted { id: SpiffeId::parse(ID).unwrap(), dns_names: Vec::new(), serial: "17".repeat(16) };
    change(&mut wanted);
    let meant = Meant {
        spiffe_id: &wanted.id,
        dns_names: &wanted.dns_names,
        public_key: &workload_key(),
        serial: &wanted.serial,
        not_before: before(NOW, Duration::from_secs(30)),
        not_after: NOW.after(HOUR),
        authority: &authority.certificate,
    };
    check_issued(chain, &meant)
}

/// The verdict on a leaf with `change` under a root, where a good leaf was meant.
fn check_leaf(change: impl FnOnce(Draft) -> Draft) -> Result<(), X509SvidError> {
    let root = root();
    check(&[root.leaf(change)], &root, |_| {})
}

/// The rule that a leaf with `change` breaks.
fn broken(change: impl FnOnce(Draft) -> Draft) -> &'static str {
    match check_leaf(change) {
        Err(X509SvidError::Profile(rule)) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_right_leaves() {
    assert_eq!(check_leaf(|leaf| leaf), Ok(()));
    let root = root();
    let middle = root.intermediate("middle", |draft| draft);
    let chain = [middle.leaf(|leaf| leaf), middle.certificate.clone()];
    assert_eq!(check(&chain, &root, |_| {}), Ok(()));
}

#[test]
fn xl_1_exactly_the_spiffe_id_that_was_meant() {
    let other = "spiffe://example.org/orders/admin";
    assert_eq!(broken(|leaf| leaf.named(&[uri(other)])), "it has another SPIFFE ID than was meant");
    assert_eq!(check_leaf(|leaf| leaf.named(&[uri(ID), uri(ID)])), Err(X509SvidError::SeveralUris));
    assert_eq!(check_leaf(|leaf| leaf.without(SAN)), Err(X509SvidError::NoSpiffeId));
}

#[test]
fn xl_2_a_root_id_does_not_leave_even_if_it_was_meant() {
    let root = root();
    let id = TrustDomain::parse(DOMAIN).unwrap().id();
    let chain = [root.leaf(|leaf| leaf.named(&[uri(id.as_str())]))];
    assert_eq!(check(&chain, &root, |wanted| wanted.id = id), Err(X509SvidError::RootPath));
}

#[test]
fn dns_names_are_those_that_were_meant_in_their_order() {
    let root = root();
    let verdict = |names: &[Vec<u8>]| {
        let two = vec!["a.example.org".to_owned(), "b.example.org".to_owned()];
        check(&[root.leaf(|leaf| leaf.named(names))], &root, |wanted| wanted.dns_names = two)
    };
    let [a, b] = [dns("a.example.org"), dns("b.example.org")];
    assert_eq!(verdict(&[uri(ID), a.clone(), b.clone()]), Ok(()));
    let other = Err(X509SvidError::Profile("it has other DNS names than were meant"));
    assert_eq!(verdict(&[uri(ID), b.clone(), a.clone()]), other);
    assert_eq!(verdict(&[uri(ID), a.clone()]), other);
    assert_eq!(verdict(&[uri(ID), a.clone(), b.clone(), b.clone()]), other);
    let neither = Err(X509SvidError::Profile("it has a name that is neither a URI nor a DNS name"));
    assert_eq!(verdict(&[uri(ID), a, b, tlv(0x87, &[127, 0, 0, 1])]), neither);
}

#[test]
fn key_serial_and_times_are_those_that_were_meant() {
    let other = Key::p256().spki();
    assert_eq!(broken(|leaf| leaf.but(|leaf| leaf.spki = other)), "it has another public key than was meant");
    let number = "it has another serial number than was meant";
    assert_eq!(broken(|leaf| leaf.but(|leaf| leaf.serial = vec![0x18; 16])), number);
    let times = "it is valid at other times than were meant";
    assert_eq!(broken(|leaf| leaf.but(|leaf| leaf.from = NOW)), times);
    assert_eq!(broken(|leaf| leaf.but(|leaf| leaf.until = NOW.after(2 * HOUR))), times);
}

#[test]
fn xl_3_an_empty_subject_has_critical_alternative_names() {
    let names = sequence(&[&uri(ID)]);
    let rule = "its subject is empty and its alternative names are not critical";
    assert_eq!(broken(|leaf| leaf.with(SAN, false, &names)), rule);
    assert_eq!(broken(|leaf| leaf.but(|leaf| leaf.subject = name("orders"))), "its subject is not empty");
}

#[test]
fn xl_4_c5_basic_constraints_are_there_critical_and_false() {
    let rule = "it has no critical BasicConstraints with cA false";
    assert_eq!(broken(|leaf| leaf.without(BASIC_CONSTRAINTS)), rule);
    assert_eq!(broken(|leaf| leaf.with(BASIC_CONSTRAINTS, false, &constraints(false, None))), rule);
    assert_eq!(broken(|leaf| leaf.with(BASIC_CONSTRAINTS, true, &constraints(true, None))), rule);
}

#[test]
fn xl_5_xl_6_the_key_usage_is_critical_and_digital_signature_alone() {
    let rule = "it has no critical KeyUsage of digitalSignature alone";
    assert_eq!(broken(|leaf| leaf.without(KEY_USAGE)), rule);
    assert_eq!(broken(|leaf| leaf.with(KEY_USAGE, false, &bits(&[0]))), rule);
    for usage in [&[][..], &[2], &[0, 2], &[0, 5], &[0, 6], &[0, 8]] {
        assert_eq!(broken(|leaf| leaf.with(KEY_USAGE, true, &bits(usage))), rule, "{usage:?}");
    }
}

#[test]
fn xl_7_both_purposes_are_there() {
    let rule = "it has no ExtendedKeyUsage of serverAuth and clientAuth";
    assert_eq!(broken(|leaf| leaf.without(EKU)), rule);
    for usage in [&[1][..], &[2], &[3]] {
        assert_eq!(broken(|leaf| leaf.with(EKU, false, &purposes(usage))), rule, "{usage:?}");
    }
}

#[test]
fn the_serial_number_is_positive_and_at_most_20_octets() {
    let root = root();
    let verdict = |serial: &[u8], text: &str| {
        let chain = [root.leaf(|leaf| leaf.but(|leaf| leaf.serial = serial.to_vec()))];
        check(&chain, &root, |wanted| wanted.serial = text.to_owned())
    };
    assert_eq!(verdict(&[1], "01"), Ok(()));
    assert_eq!(verdict(&[0, 0x80], "80"), Ok(()));
    assert_eq!(verdict(&[0x7f; 20], &"7f".repeat(20)), Ok(()));
    let rule = Err(X509SvidError::Profile("its serial number is not a positive integer of at most 20 octets"));
    assert_eq!(verdict(&[0], "00"), rule);
    assert_eq!(verdict(&[0x80], "80"), rule);
    assert_eq!(verdict(&[0, 1], "01"), rule);
    assert_eq!(verdict(&[0x7f; 21], &"7f".repeat(21)), rule);
}

#[test]
fn key_ids_are_there_and_name_the_issuer() {
    assert_eq!(broken(|leaf| leaf.without(SKI)), "it has no subject key id");
    let rule = "its authority key id is not its issuer's subject key id";
    assert_eq!(broken(|leaf| leaf.without(AKI)), rule);
    assert_eq!(broken(|leaf| leaf.with(AKI, false, &sequence(&[&tlv(0x80, &[9; 20])]))), rule);
}

#[test]
fn nothing_else_is_put_into_a_leaf() {
    let rule = "it has an extension that is not put into certificates here";
    assert_eq!(broken(|leaf| leaf.with(99, false, b"anything")), rule);
    assert_eq!(
        check_leaf(|leaf| leaf.but(|leaf| leaf.version = vec![])),
        Err(X509SvidError::Malformed(Place::Chain(1)))
    );
}

#[test]
fn a_leaf_is_valid_only_while_all_of_its_issuers_are() {
    let within = |change: fn(&mut Draft)| {
        let root = root_of(Key::p256(), "root", |draft| draft.but(change));
        let under_root = check(&[root.leaf(|leaf| leaf)], &root, |_| {});
        let root = super::root();
        let middle = root.intermediate("middle", |draft| draft.but(change));
        let below = check(&[middle.leaf(|leaf| leaf), middle.certificate.clone()], &root, |_| {});
        [under_root, below]
    };
    assert_eq!(within(|draft| draft.until = NOW.after(HOUR)), [Ok(()), Ok(())]);
    assert_eq!(within(|draft| draft.from = before(NOW, Duration::from_secs(30))), [Ok(()), Ok(())]);
    let expired = [Place::Authority, Place::Chain(2)].map(|place| Err(X509SvidError::Expired(place)));
    assert_eq!(within(|draft| draft.until = NOW.after(Duration::from_secs(3599))), expired);
    let early = [Place::Authority, Place::Chain(2)].map(|place| Err(X509SvidError::NotYetValid(place)));
    assert_eq!(within(|draft| draft.from = before(NOW, Duration::from_secs(29))), early);
}

#[test]
fn the_chain_leads_to_the_authority_and_does_not_contain_it() {
    let (root, other) = (root(), root_of(Key::p256(), "other", |draft| draft));
    let middle = root.intermediate("middle", |draft| draft);
    let leaf = middle.leaf(|leaf| leaf);
    let with_root = [leaf.clone(), middle.certificate.clone(), root.certificate.clone()];
    let contained = Err(X509SvidError::Profile("the chain contains the authority that it is to lead to"));
    assert_eq!(check(&with_root, &root, |_| {}), contained);
    let too_long = [root.leaf(|leaf| leaf), other.certificate.clone()];
    // Whose key id the leaf names is looked at first, and that is not the next one's.
    assert!(matches!(check(&too_long, &root, |_| {}), Err(X509SvidError::Profile(_))));
    let repeated = [leaf.clone(), middle.certificate.clone(), middle.certificate.clone()];
    let goes_on = Err(X509SvidError::Profile("the chain goes on after the authority was reached"));
    assert_eq!(check(&repeated, &root, |_| {}), goes_on);
    assert_eq!(check(&[leaf, middle.certificate.clone()], &other, |_| {}), Err(X509SvidError::NoAuthority));
    assert_eq!(check(&[], &root, |_| {}), Err(X509SvidError::NoCertificate));
}

#[test]
fn a_signature_of_another_key_does_not_leave() {
    let (root, other) = (root(), root_of(Key::p256(), "root", |draft| draft));
    let wrong = Err(X509SvidError::Signature(Place::Chain(1)));
    assert_eq!(check(&[other.leaf(|leaf| leaf)], &root, |_| {}), wrong);
}

#[test]
fn what_the_maker_of_our_certificates_makes_passes_the_checks() {
    let time = |at: Timestamp| time::OffsetDateTime::from_unix_timestamp(i64::try_from(at.seconds()).unwrap()).unwrap();
    let domain = TrustDomain::parse(DOMAIN).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, DOMAIN);
    params.subject_alt_names = vec![SanType::URI(domain.id().as_str().try_into().unwrap())];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from_slice(&[0x42; 16]));
    (params.not_before, params.not_after) = (time(before(NOW, HOUR)), time(NOW.after(24 * HOUR)));
    let key = KeyPair::generate().unwrap();
    let root = Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec());
    assert_eq!(check_authority(&root, &domain), Ok(()));

    let issuer = rcgen::Issuer::new(params, key);
    let (id, workload) = (format!("{ID}/{}", "a".repeat(2047 - ID.len())), KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names =
        vec![SanType::URI(id.as_str().try_into().unwrap()), SanType::DnsName("orders.example.org".try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from_slice(&[0x17; 16]));
    (params.not_before, params.not_after) = (time(NOW), time(NOW.after(HOUR)));
    let chain = [Certificate::from_der(params.signed_by(&workload, &issuer).unwrap().der().to_vec())];
    let meant = Meant {
        spiffe_id: &SpiffeId::parse(&id).unwrap(),
        dns_names: &["orders.example.org".to_owned()],
        public_key: &workload.subject_public_key_info(),
        serial: &"17".repeat(16),
        not_before: NOW,
        not_after: NOW.after(HOUR),
        authority: &root,
    };
    assert_eq!(check_issued(&chain, &meant), Ok(()));
    assert_eq!(meant.spiffe_id.as_str().len(), 2048);
}
