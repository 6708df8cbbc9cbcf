//! One JSON Web Key (RFC 7517, section 4; RFC 7518, section 6) and the public key in it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{Curve, JwtAuthority, PublicKey};
use crate::svid::jwt;
use crate::svid::x509::{self, Certificate, MAX_CERTIFICATE_BYTES};

/// Bounds of an RSA modulus in bits: below, a signature may be forged; above, a check
/// costs more than a caller may ask for. The crypto library has the same bounds.
const RSA_MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The first byte of an uncompressed point (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

impl Curve {
    /// Every curve.
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// The name in a key's `crv` (RFC 7518, section 6.2.1.1).
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Length of one coordinate in bytes.
    const fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

impl PublicKey {
    /// A point of a curve, if it is not compressed and its coordinates have their full length.
    /// Whether it is on the curve is not looked at.
    pub(crate) fn ec(curve: Curve, point: Vec<u8>) -> Option<Self> {
        let has_form = point.first() == Some(&UNCOMPRESSED) && point.len() == 1 + 2 * curve.coordinate_bytes();
        has_form.then_some(Self::Ec { curve, point })
    }

    /// An RSA key within the bounds of what is taken here.
    pub(crate) fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Self> {
        // Some writers put a zero octet in front (RFC 7518, section 6.3.1.1 warns of it), and DER has to.
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let bits = (n.len() * 8).checked_sub(n.first()?.leading_zeros() as usize)?;
        (RSA_MODULUS_BITS.contains(&bits) && is_exponent(&e)).then_some(Self::Rsa { n, e })
    }
}

/// Reads a key that is for X509-SVIDs: the certificate of an authority (X509-SVID.md, section 6).
/// `None` if the key is for something else, its `x5c` is missing or empty, or the first certificate
/// there is not that of an authority whose key is the one beside it (RFC 7517, section 4.7).
pub(super) fn read_x509(key: &Value) -> Option<Certificate> {
    let members = key.as_object()?;
    if text(members, "use") != Some("x509-svid") {
        return None;
    }
    let first = members.get("x5c")?.as_array()?.first()?.as_str()?;
    if first.len() / 4 * 3 > MAX_CERTIFICATE_BYTES + 2 {
        return None;
    }
    let certificate = Certificate::from_der(STANDARD.decode(first).ok()?);
    (x509::authority_key(&certificate)? == read_public_key(members)?).then_some(certificate)
}

/// Writes the certificate of an authority: the members that the type of its key requires and `x5c`,
/// but no `kid` (X509-SVID.md, section 6.1). `None` if it is none that [`read_x509`] takes.
pub(super) fn write_x509(certificate: &Certificate) -> Option<Map<String, Value>> {
    let mut members = write_public_key(&x509::authority_key(certificate)?);
    members.insert("x5c".to_owned(), Value::from(vec![STANDARD.encode(certificate.der())]));
    Some(members)
}

/// Reads a key that is for JWT-SVIDs; `None` if it is for something else, is not
/// understood or is not sound.
pub(super) fn read(key: &Value) -> Option<JwtAuthority> {
    let members = key.as_object()?;
    match members.get("use").map(Value::as_str) {
        None | Some(Some("jwt-svid" | "sig")) => {}
        Some(_) => return None,
    }
    let kid = text(members, "kid").filter(|kid| !kid.is_empty())?.to_owned();
    let key = read_public_key(members).filter(jwt::is_sound)?;
    let algorithm = match members.get("alg") {
        None => None,
        Some(name) => Some(name.as_str()?.parse::<jwt::Algorithm>().ok().filter(|algorithm| algorithm.fits(&key))?),
    };
    Some(JwtAuthority { kid, algorithm, key })
}

fn read_public_key(members: &Map<String, Value>) -> Option<PublicKey> {
    match text(members, "kty")? {
        "EC" => {
            let curve = Curve::ALL.into_iter().find(|curve| Some(curve.name()) == text(members, "crv"))?;
            // Coordinates have their full length (RFC 7518, section 6.2.1.2).
            let coordinate = |name| bytes(members, name).filter(|bytes| bytes.len() == curve.coordinate_bytes());
            let point = [vec![UNCOMPRESSED], coordinate("x")?, coordinate("y")?].concat();
            PublicKey::ec(curve, point)
        }
        "RSA" => PublicKey::rsa(bytes(members, "n")?, bytes(members, "e")?),
        _ => None,
    }
}

/// Odd, at least 3, and small enough that checking a signature stays cheap.
fn is_exponent(e: &[u8]) -> bool {
    e.len() <= 4 && e.last().is_some_and(|low| low % 2 == 1) && e != [1]
}

/// Writes the members that the key's type requires, and `kid`.
pub(super) fn write(authority: &JwtAuthority) -> Map<String, Value> {
    let mut members = write_public_key(&authority.key);
    members.insert("kid".to_owned(), Value::from(authority.kid.as_str()));
    members
}

/// The members that the key's type requires (RFC 7518, section 6).
fn write_public_key(key: &PublicKey) -> Map<String, Value> {
    let mut members = Map::new();
    let mut put = |name: &str, value: &str| members.insert(name.to_owned(), Value::from(value));
    match key {
        PublicKey::Ec { curve, point } => {
            let coordinates = point.get(1..).unwrap_or_default();
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            put("kty", "EC");
            put("crv", curve.name());
            put("x", &URL_SAFE_NO_PAD.encode(x));
            put("y", &URL_SAFE_NO_PAD.encode(y));
        }
        PublicKey::Rsa { n, e } => {
            put("kty", "RSA");
            put("n", &URL_SAFE_NO_PAD.encode(n));
            put("e", &URL_SAFE_NO_PAD.encode(e));
        }
    }
    members
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name)?.as_str()
}

fn bytes(members: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(members, name)?).ok()
}

fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}
