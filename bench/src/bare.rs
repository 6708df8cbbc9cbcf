//! Bare work of the crypto library, in this process: what a call has to do at least beside the
//! call itself.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};

use crate::BenchError;
use crate::measurement::{microseconds, percentile};

/// As long as the header and the claims of a token.
const SIGNED_BYTES: usize = 250;
/// How a file is read to be hashed.
const READ_BYTES: usize = 64 * 1024;

/// One ES256 signature, in microseconds: the middle of many.
///
/// # Errors
/// The crypto library fails.
pub(crate) fn signature_us(times: usize) -> Result<f64, BenchError> {
    let (key, random) = (new_key()?, SystemRandom::new());
    let message = [b'a'; SIGNED_BYTES];
    median_us(times, || key.sign(&random, &message).map(|_| ()).map_err(|_| BenchError::Crypto("sign")))
}

/// One ES256 verification, in microseconds: the middle of many.
///
/// # Errors
/// The crypto library fails.
pub(crate) fn verification_us(times: usize) -> Result<f64, BenchError> {
    let (key, random) = (new_key()?, SystemRandom::new());
    let message = [b'a'; SIGNED_BYTES];
    let signature = key.sign(&random, &message).map_err(|_| BenchError::Crypto("sign"))?;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref());
    median_us(times, || public.verify(&message, signature.as_ref()).map_err(|_| BenchError::Crypto("verify")))
}

/// A P-256 key and a signature with another, as an X509-SVID takes, in microseconds: the middle of
/// many.
///
/// # Errors
/// The crypto library fails.
pub(crate) fn new_key_and_signature_us(times: usize) -> Result<f64, BenchError> {
    let (authority, random) = (new_key()?, SystemRandom::new());
    let message = [b'a'; 2 * SIGNED_BYTES];
    median_us(times, || {
        std::hint::black_box(new_key()?);
        authority.sign(&random, &message).map(|_| ()).map_err(|_| BenchError::Crypto("sign"))
    })
}

/// SHA-256 of a file.
///
/// # Errors
/// It cannot be read.
pub(crate) fn hash_of(path: &Path) -> Result<(String, Duration), BenchError> {
    let begin = Instant::now();
    let read = || {
        let (mut file, mut context) = (File::open(path)?, Context::new(&SHA256));
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(context.finish()),
                bytes => context.update(buffer.get(..bytes).unwrap_or_default()),
            }
        }
    };
    let digest = read().map_err(BenchError::system("hash a file"))?;
    let took = begin.elapsed();
    Ok((digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(), took))
}

fn new_key() -> Result<EcdsaKeyPair, BenchError> {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| BenchError::Crypto("make a key"))
}

/// How long `once` takes, in microseconds: the middle of `times`, after a tenth of them.
fn median_us(times: usize, mut once: impl FnMut() -> Result<(), BenchError>) -> Result<f64, BenchError> {
    for _ in 0..times / 10 {
        once()?;
    }
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let begin = Instant::now();
        once()?;
        took.push(begin.elapsed());
    }
    took.sort_unstable();
    percentile(&took, 500).map(microseconds).ok_or(BenchError::Nothing("the crypto library"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_work_takes_some_time() {
        assert!(signature_us(3).unwrap() > 0.0);
        assert!(verification_us(3).unwrap() > 0.0);
        assert!(new_key_and_signature_us(3).unwrap() > 0.0);
        assert!(signature_us(0).is_err());
    }

    #[test]
    fn a_file_has_the_hash_that_it_has() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let (hash, _) = hash_of(file.path()).unwrap();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(hash_of(Path::new("nothing there")).is_err());
    }
}
