//! A root above our X.509 authorities, from files: each authority is then an intermediate that is
//! signed by the key in them, and the bundle holds the root.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_common::clock::Timestamp;
use countersign_common::secret::SecretBytes;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::x509::{Certificate, check_anchor};
use rcgen::{Issuer, PublicKeyData};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::ca_key::CaKey;
use super::key_file::{self, Fault};
use super::record::{Make, Validity};
use super::x509_key::{X509Key, fingerprint, validity};

#[cfg(test)]
pub(super) mod for_tests;
#[cfg(test)]
mod tests;

/// The longest file that is read, in bytes.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// As many certificates as a file may hold. The chain of a leaf has one more, without the root,
/// and readers take 16.
const MAX_CERTIFICATES: usize = 8;

/// Bits that the key's file may have.
const KEY_MODE: u32 = 0o600;

/// Bits that the certificates' file may have: whoever writes it chooses the root.
const CERTIFICATE_MODE: u32 = 0o644;

/// Where the upstream root is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSource {
    /// PEM: the certificate whose key is in `key`, then those above it, the root last.
    pub certificate: PathBuf,
    /// PEM: its private key, P-256, P-384 or RSA, not encrypted.
    pub key: PathBuf,
}

/// A key upstream and the certificates from it to its root.
pub struct Upstream {
    issuer: Issuer<'static, CaKey>,
    certificates: Vec<Certificate>,
    validity: Validity,
    make: Make,
}

/// Why there is no upstream root: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for authority.upstream: {reason}", path.display())]
pub struct UpstreamError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: UpstreamFault,
}

/// What is wrong with a file of `authority.upstream`.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    /// It cannot be read, or others could have read or replaced it.
    #[error("{0}")]
    File(Fault),
    /// Not PEM of what it should hold.
    #[error("{0}")]
    Content(&'static str),
    /// Not valid at present.
    #[error("certificate {number} in it is valid from {from} to {until}, and it is {now}")]
    Time {
        /// Which one, from 1.
        number: usize,
        /// From when on it is valid.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
        /// The present.
        now: Timestamp,
    },
    /// A certificate that cannot be above an authority of this trust domain.
    #[error("certificate {number} in it {fault}")]
    Certificate {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        fault: String,
    },
    /// The key is not that of the first certificate.
    #[error("it is not the key of the first certificate in {}", .0.display())]
    OtherKey(PathBuf),
}

impl Upstream {
    /// Reads and checks both files: that the certificates lead to a root, may sign others, are valid
    /// `now`, belong to no other trust domain, and are those of the key. Blocks for two small files.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn load(source: &UpstreamSource, trust_domain: &TrustDomain, now: Timestamp) -> Result<Self, UpstreamError> {
        let blame = |path: &Path| {
            let path = path.to_owned();
            move |reason| UpstreamError { path, reason }
        };
        let certificates = certificates(&source.certificate).map_err(blame(&source.certificate))?;
        let key = key(&source.key).map_err(blame(&source.key))?;
        let validity = check(&certificates, trust_domain, now).map_err(blame(&source.certificate))?;
        let refused = |fault| blame(&source.certificate)(UpstreamFault::Content(fault));
        let [first, ..] = certificates.as_slice() else { return Err(refused("there is no certificate in it")) };
        let matches = X509Certificate::from_der(first.der())
            .is_ok_and(|(_, first)| first.public_key().raw == key.subject_public_key_info());
        if !matches {
            return Err(blame(&source.key)(UpstreamFault::OtherKey(source.certificate.clone())));
        }
        let unfit = "its subject has a form that cannot be written as an issuer: use one value for each attribute";
        let issuer = Issuer::from_ca_cert_der(&first.der().into(), key).map_err(|_| refused(unfit))?;
        let root = certificates.last().unwrap_or(first);
        let make = Make::Under { issuer: fingerprint(first), root: fingerprint(root) };
        let upstream = Self { issuer, make, validity, certificates };
        // An authority to try it out; it is checked as every other, and thrown away.
        X509Key::generate(
            trust_domain,
            Some(&upstream),
            Validity { from: now, until: now.after(Duration::from_secs(1)) },
            None,
        )
        .map(|_| upstream)
        .map_err(|_| refused(unfit))
    }

    /// Whoever signs authorities.
    pub(super) fn issuer(&self) -> &Issuer<'static, CaKey> {
        &self.issuer
    }

    /// From the one that signs to the root.
    pub(super) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// When all of them are valid.
    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    /// How an authority under it is made.
    pub(super) fn make(&self) -> &Make {
        &self.make
    }
}

impl fmt::Debug for Upstream {
    /// Which certificates; nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("make", &self.make).field("validity", &self.validity).finish_non_exhaustive()
    }
}

fn file(path: &Path, mode: u32) -> Result<Zeroizing<Vec<u8>>, UpstreamFault> {
    key_file::read(path, mode, MAX_FILE_BYTES).map_err(UpstreamFault::File)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, UpstreamFault> {
    let text = file(path, CERTIFICATE_MODE)?;
    let mut found = Vec::new();
    for block in Pem::iter_from_buffer(&text) {
        match block {
            Ok(block) if block.label == "CERTIFICATE" => found.push(Certificate::from_der(block.contents)),
            _ => return Err(UpstreamFault::Content("it holds something else than certificates in PEM")),
        }
    }
    if (1..=MAX_CERTIFICATES).contains(&found.len()) {
        Ok(found)
    } else {
        Err(UpstreamFault::Content("it must hold one to eight certificates in PEM"))
    }
}

fn key(path: &Path) -> Result<CaKey, UpstreamFault> {
    let text = file(path, KEY_MODE)?;
    let mut blocks = Pem::iter_from_buffer(&text);
    // OpenSSL writes the curve in front of an EC key.
    let key = blocks.find(|block| block.as_ref().map_or(true, |block| block.label.ends_with("PRIVATE KEY")));
    let Some(Ok(block)) = key else {
        return Err(UpstreamFault::Content("it holds no private key in PEM"));
    };
    CaKey::read(&SecretBytes::new(block.contents)).ok_or(UpstreamFault::Content(
        "its key cannot be used: P-256, P-384 and RSA of 2048 bits or more can, not encrypted",
    ))
}

/// Checks that each certificate is signed by the next, the last by itself, and that all may sign;
/// when all are valid.
fn check(certificates: &[Certificate], trust_domain: &TrustDomain, now: Timestamp) -> Result<Validity, UpstreamFault> {
    let mut common = Validity { from: Timestamp::from_seconds(0), until: Timestamp::from_seconds(u64::MAX) };
    for (index, certificate) in certificates.iter().enumerate() {
        let number = index + 1;
        let refused = |fault: String| UpstreamFault::Certificate { number, fault };
        let parsed = parsed(certificate).ok_or_else(|| refused("cannot be read".to_owned()))?;
        let above = certificates.get(number).unwrap_or(certificate);
        let above = self::parsed(above).ok_or_else(|| refused("has one above it that cannot be read".to_owned()))?;
        let valid = validity(&parsed).ok_or_else(|| refused("is from before 1970".to_owned()))?;
        let Validity { from, until } = valid;
        if now < from || until <= now {
            return Err(UpstreamFault::Time { number, from, until, now });
        }
        may_sign(&parsed, index).map_err(|fault| refused(fault.to_owned()))?;
        belongs(&parsed, trust_domain).map_err(refused)?;
        if parsed.issuer().as_raw() != above.subject().as_raw()
            || parsed.verify_signature(Some(above.public_key())).is_err()
        {
            return Err(refused(
                "is not signed by the one after it, or, as the last, by itself; put the root last".to_owned(),
            ));
        }
        if number == certificates.len() {
            check_anchor(certificate).map_err(|fault| refused(format!("cannot stand in a bundle: {fault}")))?;
        }
        common = Validity { from: common.from.max(from), until: common.until.min(until) };
    }
    Ok(common)
}

fn parsed(certificate: &Certificate) -> Option<X509Certificate<'_>> {
    let (rest, parsed) = X509Certificate::from_der(certificate.der()).ok()?;
    // A name may not hold an empty set (RFC 5280, section 4.1.2.4), and rcgen relies on it.
    let is_named = parsed.subject().iter().all(|part| part.iter().next().is_some());
    (rest.is_empty() && is_named).then_some(parsed)
}

/// Whether it may sign certificates that have `below` others and ours below them.
fn may_sign(certificate: &X509Certificate<'_>, below: usize) -> Result<(), &'static str> {
    let constraints = certificate.basic_constraints().ok().flatten().filter(|found| found.value.ca);
    let constraints = constraints.ok_or("is no authority: it does not say cA:TRUE")?;
    let depth = constraints.value.path_len_constraint.and_then(|depth| usize::try_from(depth).ok());
    if depth.is_some_and(|depth| depth < below + 1) {
        return Err("allows too few authorities below it: pathLenConstraint");
    }
    if !certificate.key_usage().ok().flatten().is_some_and(|usage| usage.value.key_cert_sign()) {
        return Err("may not sign certificates: key usage has no keyCertSign");
    }
    if certificate.subject().iter().next().is_none() {
        return Err("has no subject");
    }
    Ok(())
}

/// A certificate may have no SPIFFE ID; if it has one, it is that of this trust domain.
fn belongs(certificate: &X509Certificate<'_>, trust_domain: &TrustDomain) -> Result<(), String> {
    let names = certificate.subject_alternative_name().map_err(|_| "has its names twice".to_owned())?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    for name in names {
        let GeneralName::URI(uri) = name else { continue };
        if uri.starts_with("spiffe:") && *uri != trust_domain.id().as_str() {
            return Err(format!("is that of {uri:?}, not of {}", trust_domain.id()));
        }
    }
    Ok(())
}
