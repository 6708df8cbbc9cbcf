//! One leaf: from a grant to a certificate that was read and checked once more.

use std::time::Duration;

use countersign_common::clock::Timestamp;
use countersign_common::svid::x509::{Certificate, Meant, check_issued};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
};

use super::record::before;
use super::signer::Signer;
use super::x509_key::{X509Key, hex, serial, time};
use crate::authority::{AuthorityError, SignedX509};
use crate::policy::X509Grant;

/// Clocks of others may be this much behind.
const BACKDATED: Duration = Duration::from_secs(30);

impl Signer<X509Key> {
    /// Builds, signs and checks the leaf of an X509-SVID for `public_key`, in DER.
    ///
    /// # Errors
    /// The grant leaves no time, the crypto library failed, or the product breaks a rule.
    pub(super) fn sign(
        &self,
        grant: &X509Grant,
        public_key: &[u8],
        now: Timestamp,
    ) -> Result<SignedX509, AuthorityError> {
        let failed = |_| AuthorityError::Crypto("sign an X509-SVID");
        let validity = self.key.validity();
        let not_before = before(now, BACKDATED).max(validity.from);
        // A certificate is still valid at its last moment, and a grant no more at its own.
        let granted = grant.not_after().map(|end| before(end, Duration::from_secs(1)));
        let limits = [Some(now.after(grant.ttl())), granted, Some(validity.until), Some(self.ends)];
        let not_after = limits.into_iter().flatten().min().filter(|end| *end > now).ok_or(AuthorityError::GrantOver)?;
        let serial = serial()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(grant.spiffe_id().as_str().try_into().map_err(failed)?)];
        for name in grant.dns_names() {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(failed)?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(serial.clone());
        params.not_before = time(not_before)?;
        params.not_after = time(not_after)?;
        let subject = SubjectPublicKeyInfo::from_der(public_key).map_err(failed)?;
        let leaf = params.signed_by(&subject, self.key.issuer()).map_err(failed)?;
        let leaf = Certificate::from_der(leaf.der().to_vec());
        let chain: Vec<_> = std::iter::once(leaf).chain(self.key.intermediates().iter().cloned()).collect();
        let serial = hex(serial.as_ref());
        let meant = Meant {
            spiffe_id: grant.spiffe_id(),
            dns_names: grant.dns_names(),
            public_key,
            serial: &serial,
            not_before,
            not_after,
            authority: self.key.anchor().ok_or(AuthorityError::NoActiveKey)?,
        };
        check_issued(&chain, &meant).map_err(AuthorityError::X509Product)?;
        Ok(SignedX509 { chain, not_before, not_after, serial, authority: self.key.id().to_owned() })
    }
}
