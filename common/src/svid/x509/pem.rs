//! Certificates and private keys as text (RFC 7468), as files hold them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Certificate, MAX_CERTIFICATE_BYTES, X509SvidError};
use crate::secret::SecretBytes;

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";
/// Base64 of a line (RFC 7468, section 2).
const LINE: usize = 64;
/// The longest private key that is read, in bytes: RSA of 8192 bits takes some 4700.
const MAX_KEY_BYTES: usize = 8 * 1024;

/// Reads the blocks `CERTIFICATE` of a text, in its order; `at_most` so many. Blocks of other
/// labels, such as the key in one file with its chain, and text between blocks are passed over.
///
/// # Errors
/// There is none or there are too many, one is too long, or a block is malformed.
pub fn read_certificates(text: &str, at_most: usize) -> Result<Vec<Certificate>, X509SvidError> {
    let mut certificates = Vec::new();
    for block in blocks(text) {
        let block = block?;
        if block.label != CERTIFICATE {
            continue;
        }
        if certificates.len() == at_most {
            return Err(X509SvidError::TooMany(at_most));
        }
        certificates.push(Certificate::from_der(block.decode(MAX_CERTIFICATE_BYTES)?.as_slice()));
    }
    if certificates.is_empty() { Err(X509SvidError::NoCertificate) } else { Ok(certificates) }
}

/// Reads the first block `PRIVATE KEY` of a text: a private key as PKCS#8 in DER (RFC 5958), which
/// is not looked into.
///
/// # Errors
/// There is none, it is too long, or a block is malformed.
pub fn read_private_key(text: &str) -> Result<SecretBytes, X509SvidError> {
    for block in blocks(text) {
        let block = block?;
        if block.label == PRIVATE_KEY {
            return Ok(SecretBytes::new(std::mem::take(&mut *block.decode(MAX_KEY_BYTES)?)));
        }
    }
    Err(X509SvidError::NoPrivateKey)
}

/// Certificates as blocks `CERTIFICATE`, in their order.
pub fn write_certificates(certificates: &[Certificate]) -> String {
    certificates.iter().map(|certificate| write(CERTIFICATE, certificate.der()).as_str().to_owned()).collect()
}

/// A private key, PKCS#8 in DER, as a block `PRIVATE KEY`. The text is ASCII, and a secret like the key.
pub fn write_private_key(key: &SecretBytes) -> SecretBytes {
    SecretBytes::new(std::mem::take(&mut *write(PRIVATE_KEY, key.expose())).into_bytes())
}

fn write(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    // Room for all of it at once: a text that grows leaves copies behind.
    let lines = base64.len().div_ceil(LINE);
    let mut text = Zeroizing::new(String::with_capacity(base64.len() + lines + 2 * label.len() + 32));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in base64.as_bytes().chunks(LINE) {
        text.push_str(std::str::from_utf8(line).unwrap_or_default());
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// A block, not decoded.
struct Block<'t> {
    label: &'t str,
    /// The line that begins it, counted from one.
    line: usize,
    body: &'t str,
}

impl Block<'_> {
    /// What is in it; at most `limit` bytes.
    fn decode(&self, limit: usize) -> Result<Zeroizing<Vec<u8>>, X509SvidError> {
        let mut base64 = Zeroizing::new(String::with_capacity(self.body.len()));
        base64.extend(self.body.chars().filter(|character| !character.is_ascii_whitespace()));
        if base64.len() / 4 * 3 > limit + 2 {
            return Err(X509SvidError::TooLarge);
        }
        let decoded = STANDARD.decode(base64.as_bytes()).map_err(|_| X509SvidError::Pem(self.line))?;
        Ok(Zeroizing::new(decoded))
    }
}

/// The blocks of a text, of whatever label; the last is an error if it is not closed.
fn blocks(text: &str) -> impl Iterator<Item = Result<Block<'_>, X509SvidError>> {
    let mut lines = lines(text);
    std::iter::from_fn(move || {
        let (line, label, body_at) = lines.find_map(|(number, at, line)| {
            let label = line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
            Some((number, label, at + line.len()))
        })?;
        let is_boundary = |line: &str| line.starts_with("-----");
        let end = lines.find(|(_, _, line)| is_boundary(line));
        let closed = end.filter(|(_, _, line)| {
            line.trim_end().strip_prefix("-----END ").and_then(|line| line.strip_suffix("-----")) == Some(label)
        });
        Some(match closed.and_then(|(_, end_at, _)| text.get(body_at..end_at)) {
            Some(body) => Ok(Block { label, line, body }),
            None => Err(X509SvidError::Pem(line)),
        })
    })
}

/// The lines of a text with their numbers, counted from one, and where they begin.
fn lines(text: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').zip(1..).map(move |(line, number)| {
        let begins = at;
        at += line.len();
        (number, begins, line)
    })
}
