//! A forge: writes whatever certificate a test wants, right or wrong in one point, and signs it.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaEncoding, RsaKeyPair};

use super::*;

/// The last arc of the extensions' object identifiers, below 2.5.29.
pub(crate) const SKI: u8 = 14;
pub(crate) const KEY_USAGE: u8 = 15;
pub(crate) const SAN: u8 = 17;
pub(crate) const BASIC_CONSTRAINTS: u8 = 19;
pub(crate) const NAME_CONSTRAINTS: u8 = 30;
pub(crate) const POLICY_CONSTRAINTS: u8 = 36;
pub(crate) const POLICIES: u8 = 32;
pub(crate) const AKI: u8 = 35;
pub(crate) const EKU: u8 = 37;

/// An element of DER.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let length = match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => vec![short],
        _ => {
            let octets: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
            [vec![0x80 | u8::try_from(octets.len()).unwrap()], octets].concat()
        }
    };
    [&[tag], length.as_slice(), content].concat()
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn oid(arcs: &[u8]) -> Vec<u8> {
    tlv(0x06, arcs)
}

/// A name of one common name; the empty name for the empty text.
pub(crate) fn name(common_name: &str) -> Vec<u8> {
    if common_name.is_empty() {
        return sequence(&[]);
    }
    let attribute = sequence(&[&oid(&[0x55, 4, 3]), &tlv(0x0c, common_name.as_bytes())]);
    sequence(&[&tlv(0x31, &attribute)])
}

/// A BIT STRING of named bits, the first being the highest (KeyUsage).
pub(crate) fn bits(which: &[u8]) -> Vec<u8> {
    let mut octets = [0_u8; 2];
    which.iter().for_each(|bit| octets[usize::from(bit / 8)] |= 0x80 >> (bit % 8));
    let used = which.iter().max().map_or(0, |highest| highest + 1);
    let octets = &octets[..usize::from(used.div_ceil(8))];
    tlv(0x03, &[&[u8::try_from(octets.len() * 8).unwrap() - used], octets].concat())
}

pub(crate) fn uri(uri: &str) -> Vec<u8> {
    tlv(0x86, uri.as_bytes())
}

pub(crate) fn dns(name: &str) -> Vec<u8> {
    tlv(0x82, name.as_bytes())
}

/// BasicConstraints.
pub(crate) fn constraints(ca: bool, path_length: Option<u8>) -> Vec<u8> {
    let ca = if ca { tlv(0x01, &[0xff]) } else { Vec::new() };
    sequence(&[&ca, &path_length.map(|length| tlv(0x02, &[length])).unwrap_or_default()])
}

/// ExtendedKeyUsage of purposes below id-kp: 1 is serverAuth, 2 is clientAuth.
pub(crate) fn purposes(which: &[u8]) -> Vec<u8> {
    let all: Vec<_> = which.iter().map(|purpose| oid(&[0x2b, 6, 1, 5, 5, 7, 3, *purpose])).collect();
    tlv(0x30, &all.concat())
}

fn time(at: Timestamp) -> Vec<u8> {
    let digits: String = at.to_string().chars().filter(char::is_ascii_digit).collect();
    if digits.as_str() < "2050" {
        tlv(0x17, format!("{}Z", &digits[2..]).as_bytes())
    } else {
        tlv(0x18, format!("{digits}Z").as_bytes())
    }
}

/// A key that signs certificates.
pub(crate) enum Key {
    Ec(EcdsaKeyPair, &'static [u8]),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding, Vec<u8>),
}

pub(crate) const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const ECDSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];

impl Key {
    pub(crate) fn p256() -> Self {
        Self::ec(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_SHA256)
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm, oid: &'static [u8]) -> Self {
        Self::Ec(EcdsaKeyPair::generate(algorithm).unwrap(), oid)
    }

    fn rsa(size: KeySize, encoding: &'static dyn RsaEncoding, algorithm: Vec<u8>) -> Self {
        Self::Rsa(RsaKeyPair::generate(size).unwrap(), encoding, algorithm)
    }

    /// A key for each pair of key and algorithm that signatures are checked with.
    pub(crate) fn of_every_kind() -> Vec<(&'static str, Self)> {
        vec![
            ("P-256", Self::p256()),
            ("P-384", Self::ec(&signature::ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_SHA384)),
            ("P-521", Self::ec(&signature::ECDSA_P521_SHA512_ASN1_SIGNING, ECDSA_SHA512)),
            ("P-521 SHA-256", Self::ec(&signature::ECDSA_P521_SHA256_ASN1_SIGNING, ECDSA_SHA256)),
            ("RSA SHA-256", Self::rsa(KeySize::Rsa2048, &signature::RSA_PKCS1_SHA256, pkcs1(11))),
            ("RSA SHA-384", Self::rsa(KeySize::Rsa2048, &signature::RSA_PKCS1_SHA384, pkcs1(12))),
            ("RSA SHA-512", Self::rsa(KeySize::Rsa2048, &signature::RSA_PKCS1_SHA512, pkcs1(13))),
            ("PSS SHA-256", Self::rsa(KeySize::Rsa2048, &signature::RSA_PSS_SHA256, pss(1, 1, 32))),
            ("PSS SHA-384", Self::rsa(KeySize::Rsa2048, &signature::RSA_PSS_SHA384, pss(2, 2, 48))),
            ("PSS SHA-512", Self::rsa(KeySize::Rsa2048, &signature::RSA_PSS_SHA512, pss(3, 3, 64))),
        ]
    }

    /// RSASSA-PSS with parameters that say something else than what is signed with.
    pub(crate) fn pss_that_says(hash: u8, mask: u8, salt: u8) -> Self {
        Self::rsa(KeySize::Rsa2048, &signature::RSA_PSS_SHA256, pss(hash, mask, salt))
    }

    /// SubjectPublicKeyInfo in DER.
    pub(crate) fn spki(&self) -> Vec<u8> {
        match self {
            Self::Ec(key, _) => key.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::Rsa(key, ..) => {
                AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap().as_ref().to_vec()
            }
        }
    }

    pub(crate) fn algorithm(&self) -> Vec<u8> {
        match self {
            Self::Ec(_, algorithm) => sequence(&[&oid(algorithm)]),
            Self::Rsa(_, _, algorithm) => algorithm.clone(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(key, _) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Rsa(key, encoding, _) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

pub(crate) fn pkcs1(algorithm: u8) -> Vec<u8> {
    sequence(&[&oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, algorithm]), &[5, 0]])
}

fn pss(hash: u8, mask: u8, salt: u8) -> Vec<u8> {
    let sha = |number| sequence(&[&oid(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, number]), &[5, 0]]);
    let mask = sequence(&[&oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8]), &sha(mask)]);
    let parts = [tlv(0xa0, &sha(hash)), tlv(0xa1, &mask), tlv(0xa2, &tlv(2, &[salt]))];
    sequence(&[&oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10]), &sequence(&[&parts.concat()])])
}

/// An extension below 2.5.29.
#[derive(Clone)]
pub(crate) struct Extension {
    pub(crate) number: u8,
    pub(crate) critical: bool,
    pub(crate) value: Vec<u8>,
}

/// What is to be written: a good certificate until a test changes a field.
#[derive(Clone)]
pub(crate) struct Draft {
    /// Explicitly tagged; empty for version 1.
    pub(crate) version: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) subject: Vec<u8>,
    pub(crate) spki: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
    /// The algorithm that is said outside, if it is another than inside.
    pub(crate) algorithm_outside: Option<Vec<u8>>,
}

impl Draft {
    /// With this extension, in the place of one of its number.
    pub(crate) fn with(mut self, number: u8, critical: bool, value: &[u8]) -> Self {
        let new = Extension { number, critical, value: value.to_vec() };
        match self.extensions.iter_mut().find(|extension| extension.number == number) {
            Some(old) => *old = new,
            None => self.extensions.push(new),
        }
        self
    }

    pub(crate) fn without(mut self, number: u8) -> Self {
        self.extensions.retain(|extension| extension.number != number);
        self
    }

    /// With these alternative names, critical.
    pub(crate) fn named(self, names: &[Vec<u8>]) -> Self {
        self.with(SAN, true, &tlv(0x30, &names.concat()))
    }

    /// With this change.
    pub(crate) fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn signed(&self, key: &Key) -> Certificate {
        let extension = |extension: &Extension| {
            let critical = if extension.critical { tlv(0x01, &[0xff]) } else { Vec::new() };
            sequence(&[&oid(&[0x55, 0x1d, extension.number]), &critical, &tlv(0x04, &extension.value)])
        };
        let extensions: Vec<_> = self.extensions.iter().map(extension).collect();
        let extensions = tlv(0xa3, &tlv(0x30, &extensions.concat()));
        let validity = sequence(&[&time(self.from), &time(self.until)]);
        let (serial, algorithm) = (tlv(0x02, &self.serial), key.algorithm());
        let parts: [&[u8]; 8] = [
            &self.version,
            &serial,
            &algorithm,
            &self.issuer,
            &validity,
            &self.subject,
            &self.spki,
            if self.extensions.is_empty() { &[] } else { &extensions },
        ];
        let signed = sequence(&parts);
        let signature = tlv(0x03, &[&[0], key.sign(&signed).as_slice()].concat());
        let algorithm = self.algorithm_outside.as_ref().unwrap_or(&algorithm);
        Certificate::from_der(sequence(&[&signed, algorithm, &signature]))
    }
}
