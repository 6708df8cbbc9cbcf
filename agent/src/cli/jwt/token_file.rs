//! A token as its own workload sees it: the claims that say when to fetch again, and the
//! file that it is kept in.

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_common::clock::Timestamp;
use serde::Deserialize;

use crate::cli::outcome::CliError;

/// What a workload needs to know of its own token. Read without checking the signature:
/// it came from the agent over the agent's own socket.
pub(super) struct Seen {
    pub(super) audience: Vec<String>,
    pub(super) issued: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) jti: String,
}

#[derive(Deserialize)]
struct Claims {
    aud: Vec<String>,
    iat: Timestamp,
    exp: Timestamp,
    #[serde(default)]
    jti: String,
}

/// Reads the claims of a token that the agent just handed out.
pub(super) fn see(token: &str) -> Result<Seen, CliError> {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
    let Claims { aud, iat, exp, jti } =
        claims.ok_or_else(|| CliError::refused("the agent answered with something that is not a JWT-SVID"))?;
    Ok(Seen { audience: aud, issued: iat, expires: exp, jti })
}

/// Replaces the file as a whole: a reader sees the old token or the new one, never a part.
/// The new file has mode 0600 from the start.
pub(super) fn replace(path: &Path, token: &str) -> Result<(), CliError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = (|| {
        let mut file = tempfile::Builder::new().prefix(".countersign-").tempfile_in(folder)?;
        file.write_all(token.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    })();
    written.map(|_| ()).map_err(|error| CliError::refused(format!("cannot write {}: {error}", path.display())))
}

/// Removes a file whose token has expired; that it is gone already is fine.
pub(super) fn withdraw(path: &Path) -> Result<(), CliError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::refused(format!("cannot remove the expired token in {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_file_is_replaced_as_a_whole_and_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token.jwt");
        std::fs::write(&path, "an older and much longer token").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        replace(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        withdraw(&path).unwrap();
        withdraw(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_token_is_said_to_be_none() {
        for text in ["", "a.b.c", "a", "e30.e30.e30"] {
            assert!(see(text).is_err(), "{text}");
        }
    }
}
