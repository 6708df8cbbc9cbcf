//! An X.509 authority: its private key, and the certificates that lead from it to the bundle.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use countersign_common::clock::Timestamp;
use countersign_common::secret::SecretBytes;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::Algorithm;
use countersign_common::svid::x509::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber,
};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::ca_key::CaKey;
use super::pkcs11::{Pkcs11Key, Pkcs11Token};
use super::private_key::PrivateKey;
use super::record::{Make, Validity, before};
use super::upstream::Upstream;
use super::x509_check;
use crate::authority::AuthorityError;

/// A clock that is set back by less than this does not cost an authority.
const BACKDATED: Duration = Duration::from_secs(300);

/// Bytes of a serial number (RFC 5280, section 4.1.2.2: positive, at most 20 octets).
const SERIAL_BYTES: usize = 16;

/// An X.509 authority. Has no `Debug`: it holds the private key.
pub(super) struct X509Key {
    id: String,
    make: Make,
    validity: Validity,
    /// Its own, then those above, up to the one in the bundle; one if it signed its own.
    certificates: Vec<Certificate>,
    issuer: Issuer<'static, CaKey>,
    at_rest: SecretBytes,
}

impl X509Key {
    /// Makes a key, in the token if there is one, and its certificate (X509-SVID.md, sections 3.2,
    /// 4.1, 4.3): valid as `wanted` says, and never for longer than what is above it.
    ///
    /// # Errors
    /// The crypto library or the token failed, or the certificate upstream is not valid now.
    pub(super) fn generate(
        trust_domain: &TrustDomain,
        upstream: Option<&Upstream>,
        wanted: Validity,
        token: Option<&Arc<Pkcs11Token>>,
    ) -> Result<Self, AuthorityError> {
        let mut validity = Validity { from: before(wanted.from, BACKDATED), ..wanted };
        if let Some(upstream) = upstream {
            let above = upstream.validity();
            if wanted.from < above.from || above.until <= wanted.from {
                return Err(AuthorityError::UpstreamOver { from: above.from, until: above.until });
            }
            validity = Validity { from: validity.from.max(above.from), until: validity.until.min(above.until) };
        }
        let (at_rest, key) = match token {
            Some(token) => in_token(token)?,
            None => CaKey::generate()?,
        };
        let certificates = certify(trust_domain, &key, upstream, validity)?;
        let made = Self::of(key, at_rest, certificates).ok_or(AuthorityError::Crypto("read its own certificate"))?;
        let [own, above @ ..] = made.certificates.as_slice() else { return Err(AuthorityError::Crypto("certify")) };
        let above = above.first().unwrap_or(own);
        x509_check::authority(own, above, trust_domain).map_err(AuthorityError::X509Product)?;
        Ok(made)
    }

    /// Reads an authority that was saved; `None` if key and certificates do not belong together.
    pub(super) fn read(key: PrivateKey, certificates: Vec<Certificate>) -> Option<Self> {
        let at_rest = match &key {
            PrivateKey::Here(pkcs8) => pkcs8.clone(),
            PrivateKey::There(key) => SecretBytes::new(key.reference()),
        };
        Self::of(CaKey::of(key)?, at_rest, certificates)
    }

    fn of(key: CaKey, at_rest: SecretBytes, certificates: Vec<Certificate>) -> Option<Self> {
        let own = certificates.first()?;
        let (rest, parsed) = X509Certificate::from_der(own.der()).ok()?;
        if !rest.is_empty() || parsed.public_key().raw != key.subject_public_key_info() {
            return None;
        }
        let make = match (certificates.get(1), certificates.last()) {
            (Some(issuer), Some(root)) => Make::Under { issuer: fingerprint(issuer), root: fingerprint(root) },
            _ => Make::SelfSigned,
        };
        let id = key_id(&parsed)?;
        let validity = validity(&parsed)?;
        let issuer = Issuer::from_ca_cert_der(&own.der().into(), key).ok()?;
        Some(Self { id, make, validity, certificates, issuer, at_rest })
    }

    /// Its name: its subject key id in lower-case hexadecimal.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// How it was made.
    pub(super) fn make(&self) -> &Make {
        &self.make
    }

    /// When its certificate is valid.
    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    /// All its certificates, to be saved.
    pub(super) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The certificate that stands in the bundle for it.
    pub(super) fn anchor(&self) -> Option<&Certificate> {
        self.certificates.last()
    }

    /// What comes behind a leaf: its certificates without the one in the bundle.
    pub(super) fn intermediates(&self) -> &[Certificate] {
        self.certificates.split_last().map_or(&[], |(_, below)| below)
    }

    /// What stands for the private key at rest, to be sealed and saved: itself, or its name in the token.
    pub(super) fn at_rest(&self) -> &SecretBytes {
        &self.at_rest
    }

    /// The private key, if a token has it.
    pub(super) fn token_key(&self) -> Option<&Pkcs11Key> {
        self.issuer.key().token_key()
    }

    /// Whoever signs leaves.
    pub(super) fn issuer(&self) -> &Issuer<'static, CaKey> {
        &self.issuer
    }
}

/// A new key of the token, and what stands for it at rest.
fn in_token(token: &Arc<Pkcs11Token>) -> Result<(SecretBytes, CaKey), AuthorityError> {
    let key = token.new_key(Algorithm::Es256).map_err(AuthorityError::Pkcs11)?;
    let at_rest = SecretBytes::new(key.reference());
    Ok((at_rest, CaKey::in_token(key).ok_or(AuthorityError::Crypto("read a key of the token"))?))
}

/// The certificate of `key`, and those above it.
fn certify(
    trust_domain: &TrustDomain,
    key: &CaKey,
    upstream: Option<&Upstream>,
    validity: Validity,
) -> Result<Vec<Certificate>, AuthorityError> {
    let failed = |_| AuthorityError::Crypto("make the certificate of an X.509 authority");
    let mut params = CertificateParams::default();
    let id = hex(&params.key_identifier(key));
    params.distinguished_name = DistinguishedName::new();
    // No two authorities share a name, so that verifiers find the right one by it.
    let name = format!("countersign authority {}", id.get(..16).unwrap_or_default());
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::URI(trust_domain.id().as_str().try_into().map_err(failed)?)];
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial()?);
    params.not_before = time(validity.from)?;
    params.not_after = time(validity.until)?;
    // It signs leaves and nothing else (RFC 5280, section 4.2.1.9).
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let Some(upstream) = upstream else {
        let own = params.self_signed(key).map_err(failed)?;
        return Ok(vec![Certificate::from_der(own.der().to_vec())]);
    };
    params.use_authority_key_identifier_extension = true;
    let own = params.signed_by(key, upstream.issuer()).map_err(failed)?;
    let own = Certificate::from_der(own.der().to_vec());
    Ok(std::iter::once(own).chain(upstream.certificates().iter().cloned()).collect())
}

/// The SHA-256 digest of a certificate in lower-case hexadecimal.
pub(super) fn fingerprint(certificate: &Certificate) -> String {
    hex(digest::digest(&digest::SHA256, certificate.der()).as_ref())
}

/// The subject key id of a certificate in lower-case hexadecimal.
fn key_id(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(hex(id.0)),
        _ => None,
    })
}

/// When a certificate is valid; `None` if that is before 1970.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> Option<Validity> {
    let [from, until] = [certificate.validity().not_before, certificate.validity().not_after]
        .map(|time| u64::try_from(time.timestamp()).ok().map(Timestamp::from_seconds));
    Some(Validity { from: from?, until: until? })
}

/// Random bytes, the first neither zero nor with its highest bit set: positive, and of one length.
pub(super) fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Crypto("draw random bytes"))?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// A time as certificates have it. The last moment that they can say is the end of the year 9999.
pub(super) fn time(at: Timestamp) -> Result<time::OffsetDateTime, AuthorityError> {
    const LAST: i64 = 253_402_300_799;
    let seconds = i64::try_from(at.seconds()).unwrap_or(LAST).min(LAST);
    time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Crypto("write a time down"))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}
