//! Files and credentials that are sealing keys, and those that are not.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::authority::embedded::key_file;

fn file(directory: &tempfile::TempDir, bytes: &[u8], mode: u32) -> SecretSource {
    let path = directory.path().join("sealing.key");
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    SecretSource::File(path)
}

fn key_bytes() -> Vec<u8> {
    (0..32).collect()
}

fn refusal(source: &SecretSource) -> SealingKeyError {
    SealingKey::load(source).err().expect("a refusal")
}

#[test]
fn a_file_of_32_bytes_is_a_key() {
    let directory = tempfile::tempdir().unwrap();
    for mode in [0o600, 0o400] {
        assert_eq!(SealingKey::load(&file(&directory, &key_bytes(), mode)).unwrap().expose(), key_bytes());
    }
}

#[test]
fn a_key_that_others_may_reach_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for mode in [0o640, 0o604, 0o620, 0o606, 0o700, 0o666] {
        let error = refusal(&file(&directory, &key_bytes(), mode));
        assert!(
            matches!(error, SealingKeyError::File { fault: Fault::Mode { found, .. }, .. } if found == mode),
            "{error}"
        );
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    let SecretSource::File(path) = file(&directory, &key_bytes(), 0o600) else { panic!() };
    let metadata = std::fs::metadata(&path).unwrap();
    let stranger = metadata.uid() + 1;
    let verdict = key_file::judge(&metadata, key_file::FILE_MODE, stranger);
    // A file of root is good for everybody's agent; one of another user for nobody's.
    assert_eq!(verdict.is_ok(), metadata.uid() == 0);
}

#[test]
fn anything_but_32_random_bytes_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    for length in [0, 31, 33, 64, 1000] {
        let error = refusal(&file(&directory, &vec![7; length], 0o600));
        assert!(matches!(error, SealingKeyError::Length { .. }), "{length}: {error}");
    }
    let zeros = refusal(&file(&directory, &[0; 32], 0o600));
    assert!(matches!(zeros, SealingKeyError::NotRandom { .. }), "{zeros}");
    let missing = refusal(&SecretSource::File(directory.path().join("none")));
    assert!(missing.to_string().contains("head -c 32 /dev/urandom >"), "{missing}");
    let not_a_file = refusal(&SecretSource::File(directory.path().to_owned()));
    assert!(matches!(not_a_file, SealingKeyError::File { fault: Fault::NotAFile, .. }), "{not_a_file}");
}

#[test]
fn a_pipe_in_the_keys_place_does_not_hang() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(matches!(refusal(&SecretSource::File(path)), SealingKeyError::File { fault: Fault::NotAFile, .. }));
}

#[test]
fn a_credential_is_a_file_of_the_credentials_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = key_file::credential_path(Some(directory.path()), "sealing.key").unwrap();
    assert_eq!(path, directory.path().join("sealing.key"));
    assert!(matches!(key_file::credential_path(None, "sealing.key"), Err(Fault::NoCredentials)));
    for name in ["", ".", "..", "../sealing.key", "/etc/passwd"] {
        let refused = key_file::credential_path(Some(directory.path()), name);
        assert!(matches!(refused, Err(Fault::CredentialName)), "{name}");
    }
    // systemd lets the service's user read it by an access control list, which shows as a group's bit.
    file(&directory, &key_bytes(), 0o440);
    assert_eq!(*key_file::read(&path, key_file::CREDENTIAL_MODE, 32).unwrap(), key_bytes());
}

#[test]
fn fingerprints_differ_and_show_nothing() {
    let (one, two) = (SealingKey::from_bytes([1; 32]), SealingKey::from_bytes([2; 32]));
    assert_eq!(one.fingerprint(), SealingKey::from_bytes([1; 32]).fingerprint());
    assert_ne!(one.fingerprint(), two.fingerprint());
    assert_ne!(one.fingerprint(), [1; 8]);
}
