//! Files that are an upstream root, and those that are not: each refusal names the file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use countersign_common::spiffe_id::TrustDomain;
use rcgen::{BasicConstraints, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::for_tests::{Files, params, pem};
use super::*;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn load(files: &Files) -> Result<Upstream, UpstreamError> {
    Upstream::load(&files.source(), &TrustDomain::parse("example.org").unwrap(), Timestamp::from_seconds(NOW))
}

fn good() -> Files {
    Files::with_intermediate("example.org", NOW - DAY, NOW + DAY)
}

fn refusal(files: &Files) -> String {
    load(files).expect_err("a refusal").to_string()
}

/// The certificates' file is refused for this.
fn refused_for(files: &Files, reason: &str) {
    let said = refusal(files);
    let file = files.source().certificate.display().to_string();
    assert!(said.starts_with(&format!("cannot use {file} for authority.upstream: ")), "{said}");
    assert!(said.contains(reason), "{said}");
}

#[test]
fn a_root_or_an_intermediate_with_its_root_and_the_key_is_taken() {
    let found = load(&good()).unwrap();
    assert_eq!(found.certificates().len(), 2);
    assert_eq!(found.validity().until.seconds(), NOW + DAY);
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        load(&Files::root_alone(&params("root", NOW, NOW + DAY), &key)).unwrap();
    }
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    assert!(load(&Files::root_alone(&params("root", NOW, NOW + DAY), &key)).is_ok());
}

/// The key of a root has to stand in the bundle too (RFC 7518, section 6.1), and verifiers to know it.
#[test]
fn a_key_that_no_bundle_can_hold_is_refused() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let said = load(&Files::root_alone(&params("root", NOW, NOW + DAY), &key)).unwrap_err().to_string();
    assert!(said.contains("its key cannot be used: P-256, P-384 and RSA"), "{said}");
}

#[test]
fn nothing_of_the_key_is_told() {
    let told = format!("{:?}", load(&good()).unwrap());
    assert!(told.starts_with("Upstream { make: Under { issuer: ") && !told.to_lowercase().contains("key"), "{told}");
}

#[test]
fn one_that_is_expired_or_not_valid_yet_is_refused() {
    let over = Files::with_intermediate("example.org", NOW - DAY, NOW);
    refused_for(&over, "certificate 1 in it is valid from 2027-01-14T08:00:00Z to 2027-01-15T08:00:00Z, and it is");
    let early = Files::with_intermediate("example.org", NOW + 1, NOW + DAY);
    refused_for(&early, "certificate 1 in it is valid from");
    let root_over = Files::below_root(&params("root", NOW - DAY, NOW - 1), &params("below", NOW - DAY, NOW + DAY));
    refused_for(&root_over, "certificate 2 in it is valid from");
}

#[test]
fn one_that_may_not_sign_authorities_is_refused() {
    let root = params("root", NOW - DAY, NOW + DAY);
    let below = || params("below", NOW - DAY, NOW + DAY);
    let mut leaf = below();
    leaf.is_ca = IsCa::ExplicitNoCa;
    refused_for(&Files::below_root(&root, &leaf), "certificate 1 in it is no authority");
    let mut last = below();
    last.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    refused_for(&Files::below_root(&root, &last), "certificate 1 in it allows too few authorities below it");
    let mut shallow = root.clone();
    shallow.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    refused_for(&Files::below_root(&shallow, &below()), "certificate 2 in it allows too few authorities below it");
    let mut other_use = below();
    other_use.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    refused_for(&Files::below_root(&root, &other_use), "key usage has no keyCertSign");
}

#[test]
fn one_of_another_trust_domain_is_refused() {
    for domain in ["example.com", "example.org/path"] {
        let files = Files::with_intermediate(domain, NOW - DAY, NOW + DAY);
        refused_for(
            &files,
            &format!("certificate 1 in it is that of \"spiffe://{domain}\", not of spiffe://example.org"),
        );
    }
}

#[test]
fn certificates_that_do_not_lead_to_a_root_are_refused() {
    let files = good();
    let text = fs::read_to_string(files.source().certificate).unwrap();
    let (first, root) = text.split_at(text.find("-----END CERTIFICATE-----\n").unwrap() + 26);
    files.write_certificate(first);
    refused_for(&files, "certificate 1 in it is not signed by the one after it");
    files.write_certificate(&format!("{root}{first}"));
    refused_for(&files, "certificate 1 in it is not signed by the one after it");
    files.write_certificate(&text.replace("CERTIFICATE", "CERTIFICATE REQUEST"));
    refused_for(&files, "something else than certificates");
    files.write_certificate("");
    refused_for(&files, "one to eight certificates");
    files.write_certificate(&root.repeat(9));
    refused_for(&files, "one to eight certificates");
    files.write_certificate(&"#".repeat(70_000));
    refused_for(&files, "it is longer than 65536 bytes");
}

#[test]
fn a_subject_that_cannot_be_written_as_an_issuer_is_refused() {
    let mut twice = params("root", NOW, NOW + DAY);
    // rcgen writes what it is told, and reads only one of each.
    twice.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 11]), "one");
    twice.distinguished_name.push(DnType::OrganizationalUnitName, "two");
    let files = Files::root_alone(&twice, &KeyPair::generate().unwrap());
    refused_for(&files, "its subject has a form that cannot be written as an issuer");
}

#[test]
fn a_key_of_another_certificate_or_none_is_refused_and_named() {
    let (files, others) = (good(), good());
    let key = files.source().key.display().to_string();
    let said = |text: &str, reason: &str| {
        files.write_key(text);
        let said = refusal(&files);
        assert!(said.starts_with(&format!("cannot use {key} for")) && said.contains(reason), "{said}");
    };
    said(&fs::read_to_string(others.source().key).unwrap(), "it is not the key of the first certificate in ");
    said("", "no private key in PEM");
    said(&pem("PRIVATE KEY", b"nothing"), "its key cannot be used");
    said(&pem("ENCRYPTED PRIVATE KEY", b"nothing"), "not encrypted");
    fs::remove_file(files.source().key).unwrap();
    assert!(refusal(&files).contains("No such file"));
}

#[test]
fn files_that_others_may_reach_are_refused() {
    let files = good();
    for (path, modes) in
        [(files.source().key, [0o640, 0o604, 0o620]), (files.source().certificate, [0o664, 0o646, 0o666])]
    {
        let before = fs::metadata(&path).unwrap().permissions();
        for mode in modes {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let said = refusal(&files);
            assert!(said.contains(&path.display().to_string()) && said.contains(&format!("{mode:04o}")), "{said}");
        }
        fs::set_permissions(&path, before).unwrap();
    }
    assert!(load(&files).is_ok());
}
