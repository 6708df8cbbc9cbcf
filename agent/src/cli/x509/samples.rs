//! Answers as an agent makes them, for the tests of this family.

use countersign_common::proto::workload::{X509svid, X509svidResponse};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// What the agent sends of one identity, of the trust domain `example.org`.
pub(super) fn svid(name: &str, hint: &str) -> X509svid {
    svid_until(name, hint, 2100)
}

/// The same, valid until the beginning of a year.
pub(super) fn svid_until(name: &str, hint: &str, year: i32) -> X509svid {
    let id = format!("spiffe://example.org/{name}");
    let (authority, issuer) = authority();
    let key = KeyPair::generate().unwrap();
    let mut params = params(&id);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let leaf = params.signed_by(&key, &issuer).unwrap();
    X509svid {
        spiffe_id: id,
        x509_svid: leaf.der().to_vec(),
        x509_svid_key: key.serialize_der(),
        bundle: authority,
        hint: hint.to_owned(),
    }
}

/// A whole answer.
pub(super) fn answer(svids: &[X509svid]) -> X509svidResponse {
    X509svidResponse { svids: svids.to_vec(), ..X509svidResponse::default() }
}

/// The certificate of an authority of `example.org`, and what it signs with.
fn authority() -> (Vec<u8>, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = params("spiffe://example.org");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().to_vec(), Issuer::new(params, key))
}

fn params(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "sample");
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params
}
