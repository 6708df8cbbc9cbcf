//! A private key in a token: made there, found there, and used there.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use countersign_common::bundle::{Curve, PublicKey};
use countersign_common::svid::jwt::Algorithm;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};

use super::connection::{Failure, Opened};
use super::signature::{POINT_BYTES, point};
use super::{Pkcs11Error, Pkcs11Token, lock};
use crate::authority::embedded::x509_key::hex;

/// How what stands for a key of a token at rest begins. A private key in DER begins otherwise.
pub(in crate::authority::embedded) const REFERENCE: &[u8] = b"pkcs11:";

/// The curve P-256 by its name, 1.2.840.10045.3.1.7, in DER (RFC 5480, section 2.1.1.1).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Bits of an RSA key.
const RSA_BITS: u64 = 2048;

/// The public exponent of RSA keys: 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Length of a CKA_ID of ours in bytes.
const ID_BYTES: usize = 16;

/// The CKA_ID by which a key is found again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A key pair whose private half is in a token.
#[derive(Clone)]
pub(in crate::authority::embedded) struct Pkcs11Key {
    token: Arc<Pkcs11Token>,
    id: KeyId,
    algorithm: Algorithm,
    /// The point of an EC key, the modulus of an RSA key.
    public: Vec<u8>,
}

/// A key that no saved state names so far.
pub(super) struct Made {
    key: Pkcs11Key,
    /// Whether it is what the change that is under way is about.
    is_taken: bool,
}

impl Pkcs11Token {
    /// A new key for ES256 or RS256. It has no other use in the token. Blocks; an RSA key takes a while.
    ///
    /// One that was made for a change that could not be saved is taken first: a disk that stays full
    /// must not fill the token as well.
    pub(in crate::authority::embedded) fn new_key(
        self: &Arc<Self>,
        algorithm: Algorithm,
    ) -> Result<Pkcs11Key, Pkcs11Error> {
        let unused = |made: &&mut Made| !made.is_taken && made.key.algorithm == algorithm;
        if let Some(made) = lock(&self.made).iter_mut().find(unused) {
            made.is_taken = true;
            return Ok(made.key.clone());
        }
        let key = self.make(algorithm)?;
        lock(&self.made).push(Made { key: key.clone(), is_taken: true });
        Ok(key)
    }

    /// Says that the change is over: keys that are saved now are in use for good, and those that are
    /// not may be taken for the next one.
    pub(in crate::authority::embedded) fn change_is_over(&self, is_saved: impl Fn(KeyId) -> bool) {
        let mut made = lock(&self.made);
        made.retain(|made| !is_saved(made.key.id));
        made.iter_mut().for_each(|made| made.is_taken = false);
    }

    fn make(self: &Arc<Self>, algorithm: Algorithm) -> Result<Pkcs11Key, Pkcs11Error> {
        let mut id = [0; ID_BYTES];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| Pkcs11Error::Crypto("draw random bytes"))?;
        let id = KeyId(id);
        let (mechanism, kind, asked) = match algorithm {
            Algorithm::Rs256 => {
                let bits = Attribute::ModulusBits(RSA_BITS.into());
                let exponent = Attribute::PublicExponent(EXPONENT.to_vec());
                (Mechanism::RsaPkcsKeyPairGen, vec![bits, exponent], AttributeType::Modulus)
            }
            _ => (Mechanism::EccKeyPairGen, vec![Attribute::EcParams(P256.to_vec())], AttributeType::EcPoint),
        };
        let both =
            || vec![Attribute::Token(true), Attribute::Id(id.0.to_vec()), Attribute::Label(b"countersign".to_vec())];
        let public = [both(), kind, vec![Attribute::Verify(true)]].concat();
        let secret = [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false)];
        let private = [both(), secret.to_vec(), vec![Attribute::Sign(true)]].concat();
        let found = self.connection.in_session("make a key", |opened| {
            let (public, _) = opened.session.generate_key_pair(&mechanism, &public, &private)?;
            Ok(opened.session.get_attributes(public, &[asked])?)
        })?;
        let public = match found.into_iter().next() {
            Some(Attribute::EcPoint(wrapped)) => point(&wrapped).map(<[u8]>::to_vec),
            Some(Attribute::Modulus(modulus)) => Some(modulus),
            _ => None,
        };
        let unfit = Pkcs11Error::Unfit { label: self.label(), id, fault: "has no public half that can be read" };
        let key = Pkcs11Key { token: Arc::clone(self), id, algorithm, public: public.ok_or(unfit)? };
        // One that could leave, or does not sign, must not stay there.
        if let Err(error) = key.check() {
            let _ = key.destroy();
            return Err(error);
        }
        Ok(key)
    }

    /// The key that `reference` stands for, after [`REFERENCE`]; `None` if it cannot be read.
    pub(in crate::authority::embedded) fn saved_key(
        self: &Arc<Self>,
        algorithm: Algorithm,
        reference: &[u8],
    ) -> Option<Result<Pkcs11Key, Pkcs11Error>> {
        let (id, public) = reference.split_first_chunk::<ID_BYTES>()?;
        let fits = match algorithm {
            Algorithm::Rs256 => public.len() as u64 * 8 == RSA_BITS,
            _ => public.len() == POINT_BYTES,
        };
        let key = Pkcs11Key { token: Arc::clone(self), id: KeyId(*id), algorithm, public: public.to_vec() };
        fits.then(|| key.check().map(|()| key))
    }
}

impl Pkcs11Key {
    pub(in crate::authority::embedded) fn id(&self) -> KeyId {
        self.id
    }

    /// The token that has it.
    pub(in crate::authority::embedded) fn token(&self) -> &Arc<Pkcs11Token> {
        &self.token
    }

    pub(in crate::authority::embedded) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its public half.
    pub(in crate::authority::embedded) fn public(&self) -> PublicKey {
        match self.algorithm {
            Algorithm::Rs256 => PublicKey::Rsa { n: self.public.clone(), e: EXPONENT.to_vec() },
            _ => PublicKey::Ec { curve: Curve::P256, point: self.public.clone() },
        }
    }

    /// What stands for it at rest.
    pub(in crate::authority::embedded) fn reference(&self) -> Vec<u8> {
        [REFERENCE, &self.id.0, &self.public].concat()
    }

    /// Signs with SHA-256: ECDSA as r and s behind one another, or RSASSA-PKCS1-v1_5. Blocks for as
    /// long as the token takes.
    pub(in crate::authority::embedded) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        let digest = digest::digest(&digest::SHA256, message);
        let (mechanism, input) = match self.algorithm {
            Algorithm::Rs256 => (Mechanism::Sha256RsaPkcs, message),
            _ => (Mechanism::Ecdsa, digest.as_ref()),
        };
        self.token.connection.in_session("sign", |opened| {
            let handle = self.find(opened)?;
            Ok(opened.session.sign(&mechanism, handle, input)?)
        })
    }

    /// Has the token forget it, both halves.
    pub(in crate::authority::embedded) fn destroy(&self) -> Result<(), Pkcs11Error> {
        self.token.connection.in_session("destroy a key", |opened| {
            opened.handles.remove(&self.id);
            let found = opened.session.find_objects(&[Attribute::Id(self.id.0.to_vec())])?;
            Ok(found.into_iter().try_for_each(|object| opened.session.destroy_object(object))?)
        })
    }

    /// Whether it is there, cannot leave, and is the private half of what we take for its public one.
    fn check(&self) -> Result<(), Pkcs11Error> {
        let asked = [AttributeType::Sensitive, AttributeType::Extractable, AttributeType::NeverExtractable];
        let found = self.token.connection.in_session("describe a key", |opened| {
            let handle = self.find(opened)?;
            Ok(opened.session.get_attributes(handle, &asked)?)
        })?;
        let wanted = [Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::NeverExtractable(true)];
        if !wanted.iter().all(|attribute| found.contains(attribute)) {
            return Err(self.unfit("can leave the token, or could: it is not sensitive, or was extractable"));
        }
        let message = b"countersign: is this the key";
        if self.verifies(message, &self.sign(message)?) {
            Ok(())
        } else {
            Err(self.unfit("is another key than it was"))
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::Rs256 => RsaPublicKeyComponents { n: self.public.as_slice(), e: EXPONENT.as_slice() }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            _ => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public).verify(message, signature).is_ok(),
        }
    }

    /// Its handle in this session.
    fn find(&self, opened: &mut Opened) -> Result<ObjectHandle, Failure> {
        if let Some(handle) = opened.handles.get(&self.id) {
            return Ok(*handle);
        }
        let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(self.id.0.to_vec())];
        let found = opened.session.find_objects(&template)?.into_iter().next();
        let handle = found.ok_or(Failure::NoKey(self.id))?;
        opened.handles.insert(self.id, handle);
        Ok(handle)
    }

    fn unfit(&self, fault: &'static str) -> Pkcs11Error {
        Pkcs11Error::Unfit { label: self.token.label(), id: self.id, fault }
    }
}
