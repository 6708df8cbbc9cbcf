//! An X.509 authority: its certificate, its key, and what it signs.

use std::time::Duration;

use countersign_common::clock::Timestamp;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::x509::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};

use crate::authority::{AuthorityError, SignedX509};
use crate::policy::X509Grant;

/// Clocks of others may be this much behind.
const BACKDATED: Duration = Duration::from_secs(30);

pub(super) struct X509Ca {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
    key_id: String,
    not_after: Timestamp,
}

impl X509Ca {
    pub(super) fn make(trust_domain: &TrustDomain, now: Timestamp) -> Result<Self, AuthorityError> {
        let failed = |_| AuthorityError::Crypto("make an X.509 authority");
        let key = KeyPair::generate().map_err(failed)?;
        let not_after = now.after(Duration::from_secs(30 * 24 * 3600));
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, trust_domain.as_str());
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into().map_err(failed)?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        params.not_before = time(now)?;
        params.not_after = time(not_after)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let key_id = hex(&params.key_identifier(&key));
        let certificate = Certificate::from_der(certificate.der().to_vec());
        Ok(Self { certificate, issuer: Issuer::new(params, key), key_id, not_after })
    }

    pub(super) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(super) fn sign(
        &self,
        grant: &X509Grant,
        public_key: &[u8],
        now: Timestamp,
    ) -> Result<SignedX509, AuthorityError> {
        let failed = |_| AuthorityError::Crypto("sign an X509-SVID");
        let not_before = Timestamp::from_seconds(now.seconds().saturating_sub(BACKDATED.as_secs()));
        let not_after = now.after(grant.ttl()).min(self.not_after).min(grant.not_after().unwrap_or(self.not_after));
        let serial = serial()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(grant.spiffe_id().as_str().try_into().map_err(failed)?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(serial.clone());
        params.not_before = time(not_before)?;
        params.not_after = time(not_after)?;
        let public_key = SubjectPublicKeyInfo::from_der(public_key).map_err(failed)?;
        let leaf = params.signed_by(&public_key, &self.issuer).map_err(failed)?;
        Ok(SignedX509 {
            chain: vec![Certificate::from_der(leaf.der().to_vec())],
            not_before,
            not_after,
            serial: hex(serial.as_ref()),
            authority: self.key_id.clone(),
        })
    }
}

/// 16 random bytes, the first neither zero nor with its highest bit set (RFC 5280, section 4.1.2.2).
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Crypto("make a serial number"))?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn time(at: Timestamp) -> Result<time::OffsetDateTime, AuthorityError> {
    let seconds = i64::try_from(at.seconds()).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Crypto("write a time down"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
