//! A second opinion: the path validation that most Rust services do TLS with. What we accept it
//! accepts; what it accepts and we do not is listed, each case with our reason.

use proptest::prelude::*;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert, aws_lc_rs};

use super::*;

/// Takes any purposes: the other library leaves the demand for them to its callers.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 3] =
    [aws_lc_rs::ECDSA_P256_SHA256, aws_lc_rs::ECDSA_P384_SHA384, aws_lc_rs::ECDSA_P521_SHA512];

/// The other library's verdict.
fn other_accepts(chain: &[Certificate], authorities: &[&Issuer]) -> bool {
    let ders = |certificates: &[Certificate]| -> Vec<CertificateDer<'static>> {
        certificates.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect()
    };
    let roots = ders(&authorities.iter().map(|issuer| issuer.certificate.clone()).collect::<Vec<_>>());
    let anchors: Vec<_> = roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let chain = ders(chain);
    let Ok(leaf) = EndEntityCert::try_from(&chain[0]) else { return false };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW.seconds()));
    leaf.verify_for_usage(&ALGORITHMS, &anchors, &chain[1..], now, AnyPurpose, None, None).is_ok()
}

/// Both verdicts on a leaf below an intermediate below a root: ours, the other's.
fn both(
    leaf: impl FnOnce(Draft) -> Draft,
    middle: impl FnOnce(Draft) -> Draft,
    root: impl FnOnce(Draft) -> Draft,
) -> (Result<(), X509SvidError>, bool) {
    let root = root_of(Key::p256(), "root", root);
    let middle = root.intermediate("middle", middle);
    let chain = [middle.leaf(leaf), middle.certificate.clone()];
    (verdict(&chain, &[&root]).map(|_| ()), other_accepts(&chain, &[&root]))
}

fn same(draft: Draft) -> Draft {
    draft
}

#[test]
fn both_accept_a_good_chain() {
    assert_eq!(both(same, same, same), (Ok(()), true));
}

#[test]
fn what_only_we_refuse_and_why() {
    let refused = |error| (Err(error), true);
    // X509-SVID.md, section 5.2: a leaf that signs is no workload's.
    assert_eq!(both(|leaf| leaf.with(KEY_USAGE, true, &bits(&[0, 5])), same, same), refused(X509SvidError::LeafSigns));
    // The same section: exactly one URI, a SPIFFE ID with a path.
    assert_eq!(both(|leaf| leaf.named(&[uri(ID), uri(ID)]), same, same), refused(X509SvidError::SeveralUris));
    assert_eq!(both(|leaf| leaf.named(&[uri("spiffe://example.org")]), same, same), refused(X509SvidError::RootPath));
    // RFC 5280, section 6.1.4 (n): the other library does not look at key usages.
    let no_sign = bits(&[0, 6]);
    let middle = X509SvidError::NotAnAuthority(Place::Chain(2));
    assert_eq!(both(same, |middle| middle.with(KEY_USAGE, true, &no_sign), same), refused(middle));
    // A root is no less an authority of its time than others; the other library knows only its key.
    let past = before(NOW, HOUR);
    let expired = X509SvidError::Expired(Place::Authority);
    assert_eq!(both(same, same, |root| root.but(|root| root.until = past)), refused(expired));
    let length = X509SvidError::PathLength(Place::Authority);
    let none_below = constraints(true, Some(0));
    assert_eq!(both(same, same, |root| root.with(BASIC_CONSTRAINTS, true, &none_below)), refused(length));
}

/// A draft with one point of it changed, somehow.
fn any_change() -> impl Strategy<Value = (u8, bool, Vec<u8>)> {
    let numbers =
        prop::sample::select(vec![SKI, KEY_USAGE, SAN, BASIC_CONSTRAINTS, NAME_CONSTRAINTS, POLICIES, AKI, EKU, 99]);
    let values = prop_oneof![
        Just(constraints(true, None)),
        Just(constraints(false, None)),
        Just(constraints(true, Some(0))),
        Just(purposes(&[1, 2])),
        Just(sequence(&[&uri(ID)])),
        Just(sequence(&[&uri(ID), &dns("example.org")])),
        Just(sequence(&[&tlv(0xa0, &sequence(&[&dns("example.org")]))])),
        Just(sequence(&[&tlv(0xa1, &sequence(&[&uri("example.org")]))])),
        prop::collection::vec(0_u8..9, 0..4).prop_map(|which| bits(&which)),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    (numbers, any::<bool>(), values)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn what_we_accept_the_other_accepts(place in 0..3, change in any_change(), flip in any::<(bool, u16, u8)>()) {
        let (number, critical, value) = change;
        let changed = |at| {
            let value = value.clone();
            move |draft: Draft| if at == place { draft.with(number, critical, &value) } else { draft }
        };
        let root = root_of(Key::p256(), "root", changed(0));
        let middle = root.intermediate("middle", changed(1));
        let mut chain = vec![middle.leaf(changed(2)), middle.certificate.clone()];
        if let (true, at, bits) = flip {
            // One byte of the leaf or of the intermediate is another one.
            let which = usize::from(at) % 2;
            let mut der = chain[which].der().to_vec();
            let at = usize::from(at / 2) % der.len();
            der[at] ^= bits;
            chain[which] = Certificate::from_der(der);
        }
        if verdict(&chain, &[&root]).is_ok() {
            prop_assert!(other_accepts(&chain, &[&root]), "{number} {critical} {value:02x?}");
        }
    }
}
