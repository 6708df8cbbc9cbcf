//! How the rings are written down: the length and the text of their records as JSON, then the
//! length and the bytes of each private key, or of its name in a token. Private keys never pass
//! through the JSON writer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_common::clock::Timestamp;
use countersign_common::secret::SecretBytes;
use countersign_common::svid::jwt::Algorithm;
use countersign_common::svid::x509::Certificate;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::jwt_key::JwtKey;
use super::key_ring::KeyRing;
use super::life::Ring;
use super::pkcs11::Pkcs11Token;
use super::private_key::{HeldIn, PrivateKey};
use super::record::{KeyRecord, Make, Phase, algorithm_name};
use super::rings::Rings;
use super::sealed::{Form, StateError};
use super::x509_key::X509Key;
use crate::authority::AuthorityError;

/// Where keys may be that are not in the state, if anywhere.
type Token<'a> = Option<&'a Arc<Pkcs11Token>>;

/// The first form: JWT keys alone.
#[derive(Serialize, Deserialize)]
struct First {
    sequence: u64,
    refresh_hint: Duration,
    keys: Vec<FirstKey>,
}

#[derive(Serialize, Deserialize)]
struct FirstKey {
    kid: String,
    #[serde(with = "algorithm_name")]
    algorithm: Algorithm,
    created: Timestamp,
    phase: Phase,
}

/// The second form: both rings. The private keys follow in the order of the records, none for a
/// revoked one.
#[derive(Serialize, Deserialize)]
struct Second {
    sequence: u64,
    refresh_hint: Duration,
    jwt: Vec<KeyRecord>,
    x509: Vec<X509Record>,
}

#[derive(Serialize, Deserialize)]
struct X509Record {
    #[serde(flatten)]
    record: KeyRecord,
    /// DER in base64: its own, then those above; none if it was revoked.
    certificates: Vec<String>,
}

/// Writes the rings down in the form that is the first to know all that is in them. The buffer is of
/// full size from the start, so that growing leaves no copies.
///
/// # Errors
/// They cannot be written as JSON, or are longer than 4 GiB.
pub(super) fn write(keys: &KeyRing) -> Result<(Form, Zeroizing<Vec<u8>>), AuthorityError> {
    let rings = &keys.rings;
    let encode = |certificate: &Certificate| STANDARD.encode(certificate.der());
    let certificates = |record: &KeyRecord| keys.x509.get(&record.id).map(|key| key.certificates());
    let x509 = rings.x509.keys.iter().map(|record| X509Record {
        record: record.clone(),
        certificates: certificates(record).unwrap_or_default().iter().map(encode).collect(),
    });
    let form = Second {
        sequence: rings.sequence,
        refresh_hint: rings.refresh_hint,
        jwt: rings.jwt.keys.clone(),
        x509: x509.collect(),
    };
    let jwt = rings.jwt.keys.iter().filter_map(|record| keys.jwt.get(&record.id)).map(|key| key.at_rest());
    let x509 = rings.x509.keys.iter().filter_map(|record| keys.x509.get(&record.id)).map(|key| key.at_rest());
    let records = serde_json::to_vec(&form).map_err(|_| AuthorityError::Crypto("write the state down"))?;
    let text = parts(&records, &jwt.chain(x509).collect::<Vec<_>>())?;
    Ok((if keys.in_token().is_empty() { Form::Second } else { Form::Third }, text))
}

fn parts(records: &[u8], secrets: &[&SecretBytes]) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
    let secrets = secrets.iter().map(|secret| secret.expose());
    let size = secrets.clone().map(|secret| secret.len() + 4).sum::<usize>() + records.len() + 4;
    let mut text = Zeroizing::new(Vec::with_capacity(size));
    for part in std::iter::once(records).chain(secrets) {
        let length = u32::try_from(part.len()).map_err(|_| AuthorityError::Crypto("write the state down"))?;
        text.extend_from_slice(&length.to_be_bytes());
        text.extend_from_slice(part);
    }
    Ok(text)
}

/// Reads what [`write`], or an earlier version of it, wrote. Keys that are in a token are looked for in
/// `token`, which blocks.
///
/// # Errors
/// It is damaged, keys and records do not belong together, or a key is not in the token.
pub(super) fn read(form: Form, text: &[u8], token: Token<'_>) -> Result<KeyRing, StateError> {
    let (records, mut rest) = part(text)?;
    let form = match form {
        Form::First => serde_json::from_slice::<First>(records).map(Second::from),
        Form::Second | Form::Third => serde_json::from_slice(records),
    };
    let form = form.map_err(|_| StateError::Damaged)?;
    let (mut jwt, mut x509) = (BTreeMap::new(), BTreeMap::new());
    for record in form.jwt.iter().filter(|record| has_key(record)) {
        let key = jwt_key(record, next(&mut rest)?, token)?;
        insert(&mut jwt, record, key)?;
    }
    for X509Record { record, certificates } in form.x509.iter().filter(|found| has_key(&found.record)) {
        let key = x509_key(record, certificates, next(&mut rest)?, token)?;
        insert(&mut x509, record, key)?;
    }
    if !rest.is_empty() {
        return Err(StateError::Damaged);
    }
    let rings = Rings {
        sequence: form.sequence,
        refresh_hint: form.refresh_hint,
        jwt: Ring { keys: form.jwt },
        x509: Ring { keys: form.x509.into_iter().map(|found| found.record).collect() },
    };
    Ok(KeyRing { rings, jwt, x509 })
}

impl From<First> for Second {
    fn from(first: First) -> Self {
        let record = |key: FirstKey| {
            let FirstKey { kid, algorithm, created, phase } = key;
            KeyRecord { id: kid, make: Make::Jwt(algorithm), held_in: HeldIn::State, created, validity: None, phase }
        };
        let jwt = first.keys.into_iter().map(record).collect();
        Self { sequence: first.sequence, refresh_hint: first.refresh_hint, jwt, x509: Vec::new() }
    }
}

fn has_key(record: &KeyRecord) -> bool {
    !matches!(record.phase, Phase::Revoked { .. })
}

fn jwt_key(record: &KeyRecord, at_rest: SecretBytes, token: Token<'_>) -> Result<JwtKey, StateError> {
    let Make::Jwt(algorithm) = record.make else { return Err(StateError::Damaged) };
    let key = private_key(record, at_rest, algorithm, token)?;
    let key = JwtKey::read(algorithm, key).map_err(|_| StateError::Damaged)?;
    if key.kid() == record.id { Ok(key) } else { Err(StateError::Damaged) }
}

fn private_key(
    record: &KeyRecord,
    at_rest: SecretBytes,
    algorithm: Algorithm,
    token: Token<'_>,
) -> Result<PrivateKey, StateError> {
    let key = PrivateKey::read(at_rest, algorithm, token)?;
    if key.held_in() == record.held_in { Ok(key) } else { Err(StateError::Damaged) }
}

fn x509_key(
    record: &KeyRecord,
    certificates: &[String],
    at_rest: SecretBytes,
    token: Token<'_>,
) -> Result<X509Key, StateError> {
    let decoded = certificates.iter().map(|text| STANDARD.decode(text).map(Certificate::from_der));
    let certificates = decoded.collect::<Result<_, _>>().map_err(|_| StateError::Damaged)?;
    let key = private_key(record, at_rest, Algorithm::Es256, token)?;
    let key = X509Key::read(key, certificates).ok_or(StateError::Damaged)?;
    let agree = key.id() == record.id && *key.make() == record.make && Some(key.validity()) == record.validity;
    if agree { Ok(key) } else { Err(StateError::Damaged) }
}

fn insert<K>(keys: &mut BTreeMap<String, Arc<K>>, record: &KeyRecord, key: K) -> Result<(), StateError> {
    match keys.insert(record.id.clone(), Arc::new(key)) {
        None => Ok(()),
        Some(_) => Err(StateError::Damaged),
    }
}

fn next(rest: &mut &[u8]) -> Result<SecretBytes, StateError> {
    let (secret, after) = part(rest)?;
    *rest = after;
    Ok(SecretBytes::new(secret.to_vec()))
}

/// One length with its bytes, and what comes after.
fn part(text: &[u8]) -> Result<(&[u8], &[u8]), StateError> {
    let (length, rest) = text.split_first_chunk().ok_or(StateError::Damaged)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| StateError::Damaged)?;
    rest.split_at_checked(length).ok_or(StateError::Damaged)
}

/// What the version before wrote: the first form, of the JWT ring alone.
#[cfg(test)]
pub(super) fn write_first(keys: &KeyRing) -> (Form, Zeroizing<Vec<u8>>) {
    let old = |record: &KeyRecord| {
        let Make::Jwt(algorithm) = record.make else { panic!("a JWT key") };
        FirstKey { kid: record.id.clone(), algorithm, created: record.created, phase: record.phase }
    };
    let Rings { sequence, refresh_hint, jwt, .. } = &keys.rings;
    let form = First { sequence: *sequence, refresh_hint: *refresh_hint, keys: jwt.keys.iter().map(old).collect() };
    let secrets: Vec<_> = jwt.keys.iter().map(|record| keys.jwt[&record.id].at_rest()).collect();
    (Form::First, parts(&serde_json::to_vec(&form).unwrap(), &secrets).unwrap())
}
