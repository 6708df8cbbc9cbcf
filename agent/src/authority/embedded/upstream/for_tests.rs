//! An upstream root in files, as an operator would put it there, or slightly wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_common::clock::Timestamp;
use countersign_common::svid::x509::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::UpstreamSource;
use crate::authority::embedded::x509_key::time;

/// A root, or an intermediate and its root, with the key of the first.
pub(in crate::authority::embedded) struct Files {
    directory: tempfile::TempDir,
    root: Certificate,
}

/// What a certificate says.
pub(in crate::authority::embedded) fn params(name: &str, from: u64, until: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = time(Timestamp::from_seconds(from)).unwrap();
    params.not_after = time(Timestamp::from_seconds(until)).unwrap();
    params
}

impl Files {
    /// An intermediate of this trust domain and its root, both valid from then until then.
    pub(in crate::authority::embedded) fn with_intermediate(domain: &str, from: u64, until: u64) -> Self {
        let mut intermediate = params("an intermediate", from, until);
        intermediate.subject_alt_names = vec![SanType::URI(format!("spiffe://{domain}").try_into().unwrap())];
        Self::below_root(&params("the root", from, until), &intermediate)
    }

    /// An intermediate and its root.
    pub(in crate::authority::embedded) fn below_root(root: &CertificateParams, below: &CertificateParams) -> Self {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root_certificate = root.self_signed(&root_key).unwrap();
        let mut below = below.clone();
        below.use_authority_key_identifier_extension = true;
        let below = below.signed_by(&key, &Issuer::from_params(root, &root_key)).unwrap();
        let certificates = [below.der().to_vec(), root_certificate.der().to_vec()];
        Self::of(&certificates, &key.serialize_der())
    }

    /// A root alone, with a key of this sort.
    pub(in crate::authority::embedded) fn root_alone(root: &CertificateParams, key: &KeyPair) -> Self {
        Self::of(&[root.self_signed(key).unwrap().der().to_vec()], &key.serialize_der())
    }

    fn of(certificates: &[Vec<u8>], key: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Certificate::from_der(certificates.last().unwrap().clone());
        let files = Self { directory, root };
        let text: String = certificates.iter().map(|der| pem("CERTIFICATE", der)).collect();
        files.write_certificate(&text);
        files.write_key(&pem("PRIVATE KEY", key));
        files
    }

    pub(in crate::authority::embedded) fn source(&self) -> UpstreamSource {
        let path = |name| self.directory.path().join(name);
        UpstreamSource { certificate: path("upstream.pem"), key: path("upstream.key") }
    }

    pub(in crate::authority::embedded) fn root(&self) -> Certificate {
        self.root.clone()
    }

    pub(in crate::authority::embedded) fn write_certificate(&self, text: &str) {
        fs::write(self.source().certificate, text).unwrap();
        fs::set_permissions(self.source().certificate, fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub(in crate::authority::embedded) fn write_key(&self, text: &str) {
        fs::write(self.source().key, text).unwrap();
        fs::set_permissions(self.source().key, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

pub(in crate::authority::embedded) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
