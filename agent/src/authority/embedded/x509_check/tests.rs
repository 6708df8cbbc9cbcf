//! Certificates that each break one rule.

use countersign_common::clock::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::*;
use crate::authority::embedded::x509_key::time;

const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> time::OffsetDateTime {
    self::time(Timestamp::from_seconds(seconds)).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.subject_alt_names = vec![uri("spiffe://example.org")];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (at(NOW), at(NOW + 100));
    params
}

/// Checks an authority that signed its own certificate, as it should be but for `change`.
fn checked_authority(change: impl FnOnce(&mut CertificateParams)) -> Result<(), X509SvidError> {
    let mut params = authority_params();
    change(&mut params);
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let made = Certificate::from_der(made.der().to_vec());
    authority(&made, &made, &TrustDomain::parse("example.org").unwrap())
}

#[test]
fn an_authority_that_breaks_a_rule_is_found() {
    assert_eq!(checked_authority(|_| {}), Ok(()));
    type Change = fn(&mut CertificateParams);
    let broken: [(&str, Change); 6] = [
        ("signs documents", |own| own.key_usages.push(KeyUsagePurpose::DigitalSignature)),
        ("no authority", |own| own.is_ca = IsCa::ExplicitNoCa),
        ("has a path", |own| own.subject_alt_names = vec![uri("spiffe://example.org/a")]),
        ("another trust domain", |own| own.subject_alt_names = vec![uri("spiffe://example.com")]),
        ("no subject", |own| own.distinguished_name = DistinguishedName::new()),
        ("a purpose", |own| own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
    ];
    for (what, change) in broken {
        assert!(checked_authority(change).is_err(), "{what}");
    }
}

#[test]
fn what_another_key_signed_is_found() {
    let params = authority_params();
    let [own, other] = [(); 2]
        .map(|()| Certificate::from_der(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()));
    assert!(authority(&own, &other, &TrustDomain::parse("example.org").unwrap()).is_err());
    let mut flipped = own.der().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let flipped = Certificate::from_der(flipped);
    assert!(authority(&flipped, &flipped, &TrustDomain::parse("example.org").unwrap()).is_err());
}
