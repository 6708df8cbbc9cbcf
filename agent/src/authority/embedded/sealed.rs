//! The authority's state at rest: AES-256-GCM under the sealing key.
//!
//! ```text
//! "CSAK" | format, 1 byte | fingerprint of the sealing key, 8 | length, 1 | trust domain name
//!        | nonce, 12 | ciphertext and tag
//! ```
//!
//! All in front of the nonce is in plain and authenticated, so that the wrong key, the
//! wrong trust domain and a later format are told apart from damage.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use countersign_common::spiffe_id::TrustDomain;
use zeroize::Zeroizing;

use super::sealing_key::{FINGERPRINT_BYTES, SealingKey};
use crate::authority::AuthorityError;

/// How every sealed state begins.
const MAGIC: &[u8; 4] = b"CSAK";

/// What the text inside looks like; the byte in front of it says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// JWT keys alone; not written any more.
    First,
    /// JWT keys and X.509 authorities.
    Second,
    /// The same, some of them in a PKCS#11 token.
    Third,
}

impl Form {
    const fn format(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
            Self::Third => 3,
        }
    }
}

/// Why saved state cannot be used. Nothing here leads to a fresh start: new keys would
/// make every token and bundle out there worthless without anybody having asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Sealed state, and no key to open it.
    #[error("it is sealed and no sealing key is configured; configure the one that it was sealed with")]
    NoSealingKey,
    /// Not written by this program, or overwritten.
    #[error("it is damaged; restore the store from its backup, or move the store away to begin with new keys")]
    Damaged,
    /// Written by a later version.
    #[error("it has format {found}, and this version reads formats 1 to 3 only; run the version that wrote it")]
    Format {
        /// The format that it says it has.
        found: u8,
    },
    /// Written for another trust domain.
    #[error("it belongs to trust domain {found}; configure that trust domain, or another store")]
    TrustDomain {
        /// Whose state it says it is.
        found: String,
    },
    /// Sealed under another key.
    #[error(
        "it was sealed with another sealing key; configure that one, or restore the store that belongs to this one"
    )]
    SealingKey,
    /// Keys in a token, and no token to look for them in.
    #[error("its keys are in a PKCS#11 token and none is configured; configure authority.pkcs11 as it was")]
    NoToken,
    /// The token has not what the state names.
    #[error("its keys are in a PKCS#11 token: {0}")]
    Token(String),
}

/// Seals a text of that form, which is overwritten in place: no plain copy is left.
pub(super) fn seal(
    key: &SealingKey,
    trust_domain: &TrustDomain,
    (form, mut plain): (Form, Zeroizing<Vec<u8>>),
) -> Result<Vec<u8>, AuthorityError> {
    let failed = |_| AuthorityError::Crypto("seal the state");
    let mut record = preamble(form.format(), key, trust_domain)?;
    let sealer = RandomizedNonceKey::new(&AES_256_GCM, key.expose()).map_err(failed)?;
    let (nonce, tag) =
        sealer.seal_in_place_separate_tag(Aad::from(record.as_slice()), plain.as_mut_slice()).map_err(failed)?;
    record.extend_from_slice(nonce.as_ref());
    record.extend_from_slice(&plain);
    record.extend_from_slice(tag.as_ref());
    Ok(record)
}

/// Opens what [`seal`] made.
pub(super) fn open(
    key: &SealingKey,
    trust_domain: &TrustDomain,
    record: &[u8],
) -> Result<(Form, Zeroizing<Vec<u8>>), StateError> {
    let rest = record.strip_prefix(MAGIC).ok_or(StateError::Damaged)?;
    let (format, rest) = rest.split_first().ok_or(StateError::Damaged)?;
    let form = match *format {
        1 => Form::First,
        2 => Form::Second,
        3 => Form::Third,
        found => return Err(StateError::Format { found }),
    };
    let (fingerprint, rest) = rest.split_first_chunk::<FINGERPRINT_BYTES>().ok_or(StateError::Damaged)?;
    let (length, rest) = rest.split_first().ok_or(StateError::Damaged)?;
    let (name, rest) = rest.split_at_checked(usize::from(*length)).ok_or(StateError::Damaged)?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or(StateError::Damaged)?;

    if name != trust_domain.as_str().as_bytes() {
        let found = String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).collect();
        return Err(StateError::TrustDomain { found });
    }
    if *fingerprint != key.fingerprint() {
        return Err(StateError::SealingKey);
    }
    let authenticated = record.len() - rest.len();
    let opener = RandomizedNonceKey::new(&AES_256_GCM, key.expose()).map_err(|_| StateError::Damaged)?;
    let mut plain = Zeroizing::new(ciphertext.to_vec());
    let aad = Aad::from(record.get(..authenticated).unwrap_or_default());
    let length = opener
        .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, plain.as_mut_slice())
        .map_err(|_| StateError::Damaged)?
        .len();
    plain.truncate(length);
    Ok((form, plain))
}

/// What stands in front of the nonce.
fn preamble(format: u8, key: &SealingKey, trust_domain: &TrustDomain) -> Result<Vec<u8>, AuthorityError> {
    let name = trust_domain.as_str().as_bytes();
    let length =
        u8::try_from(name.len()).map_err(|_| AuthorityError::Options("the trust domain's name is too long"))?;
    Ok([MAGIC.as_slice(), &[format], &key.fingerprint(), &[length], name].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn domain(name: &str) -> TrustDomain {
        TrustDomain::parse(name).unwrap()
    }

    fn key(byte: u8) -> SealingKey {
        SealingKey::from_bytes([byte; 32])
    }

    fn sealed(text: &[u8]) -> Vec<u8> {
        seal(&key(1), &domain("example.org"), (Form::Second, Zeroizing::new(text.to_vec()))).unwrap()
    }

    fn refusal(key: &SealingKey, name: &str, record: &[u8]) -> StateError {
        open(key, &domain(name), record).unwrap_err()
    }

    #[test]
    fn each_way_of_not_opening_has_its_own_name() {
        let record = sealed(b"state");
        let (form, text) = open(&key(1), &domain("example.org"), &record).unwrap();
        assert_eq!((form, text.as_slice()), (Form::Second, b"state".as_slice()));
        assert_eq!(refusal(&key(2), "example.org", &record), StateError::SealingKey);
        let found = "example.org".to_owned();
        assert_eq!(refusal(&key(1), "example.com", &record), StateError::TrustDomain { found });
        let mut later = record.clone();
        for found in [0, 4, 255] {
            later[4] = found;
            assert_eq!(refusal(&key(1), "example.org", &later), StateError::Format { found });
        }
        later[4] = 1;
        assert_eq!(refusal(&key(1), "example.org", &later), StateError::Damaged, "the format is authenticated");
        assert_eq!(refusal(&key(1), "example.org", b""), StateError::Damaged);
        assert_eq!(refusal(&key(1), "example.org", b"redb"), StateError::Damaged);
    }

    #[test]
    fn the_longest_trust_domain_fits() {
        let longest = domain(&"a".repeat(255));
        let record = seal(&key(1), &longest, (Form::Third, Zeroizing::new(b"state".to_vec()))).unwrap();
        assert_eq!(*open(&key(1), &longest, &record).unwrap().1, b"state");
    }

    #[test]
    fn what_was_sealed_in_a_form_is_opened_as_such() {
        for form in [Form::First, Form::Second, Form::Third] {
            let text = Zeroizing::new(b"state".to_vec());
            let record = seal(&key(1), &domain("example.org"), (form, text.clone())).unwrap();
            assert_eq!(open(&key(1), &domain("example.org"), &record).unwrap(), (form, text));
        }
    }

    #[test]
    fn the_same_state_never_seals_to_the_same_bytes() {
        assert_ne!(sealed(b"state"), sealed(b"state"));
    }

    proptest! {
        #[test]
        fn a_record_with_one_bit_changed_or_bytes_missing_does_not_open(at: prop::sample::Index, bit in 0..8_u8) {
            let record = sealed(b"some state of the authority");
            let mut changed = record.clone();
            let at = at.index(record.len());
            changed[at] ^= 1 << bit;
            prop_assert!(open(&key(1), &domain("example.org"), &changed).is_err());
            prop_assert!(open(&key(1), &domain("example.org"), &record[..at]).is_err());
        }
    }
}
