//! Certificates that each break one rule.

use countersign_common::clock::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
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

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri("spiffe://example.org/a")];
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (at(NOW), at(NOW + 100));
    params
}

/// Checks a leaf that is as it should be but for `change`.
fn checked_leaf(change: impl FnOnce(&mut CertificateParams)) -> Result<(), &'static str> {
    let key = KeyPair::generate().unwrap();
    let above = authority_params();
    let certificate = Certificate::from_der(above.self_signed(&key).unwrap().der().to_vec());
    let mut params = leaf_params();
    change(&mut params);
    let made = params.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(above, key)).unwrap();
    let id = SpiffeId::parse("spiffe://example.org/a").unwrap();
    leaf(&Certificate::from_der(made.der().to_vec()), &certificate, &id)
}

/// Checks an authority that signed its own certificate, as it should be but for `change`.
fn checked_authority(change: impl FnOnce(&mut CertificateParams)) -> Result<(), &'static str> {
    let mut params = authority_params();
    change(&mut params);
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let made = Certificate::from_der(made.der().to_vec());
    authority(&made, &made, &TrustDomain::parse("example.org").unwrap())
}

#[test]
fn a_leaf_that_breaks_a_rule_is_found() {
    assert_eq!(checked_leaf(|_| {}), Ok(()));
    type Change = fn(&mut CertificateParams);
    let broken: [(&str, Change); 12] = [
        ("two URIs", |leaf| leaf.subject_alt_names.push(uri("spiffe://example.org/b"))),
        ("another URI", |leaf| leaf.subject_alt_names = vec![uri("spiffe://example.org/b")]),
        ("no URI", |leaf| leaf.subject_alt_names.clear()),
        ("an authority", |leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ("no constraints", |leaf| leaf.is_ca = IsCa::NoCa),
        ("no key usage", |leaf| leaf.key_usages.clear()),
        ("signs certificates", |leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        ("for servers only", |leaf| leaf.extended_key_usages.truncate(1)),
        ("no word of what for", |leaf| leaf.extended_key_usages.clear()),
        ("outlives its issuer", |leaf| leaf.not_after = at(NOW + 101)),
        ("before its issuer", |leaf| leaf.not_before = at(NOW - 1)),
        ("no authority key id", |leaf| leaf.use_authority_key_identifier_extension = false),
    ];
    for (what, change) in broken {
        assert!(checked_leaf(change).is_err(), "{what}");
    }
    assert!(checked_leaf(|leaf| leaf.serial_number = Some(SerialNumber::from_slice(&[1; 21]))).is_err());
    let named = |leaf: &mut CertificateParams| leaf.subject_alt_names.push(SanType::DnsName("a.b".try_into().unwrap()));
    assert_eq!(checked_leaf(named), Ok(()), "DNS names are free");
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
