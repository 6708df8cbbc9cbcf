//! A connection to the daemon, and to nobody else.
//!
//! Whoever answers there says which labels a container has, and so who the process in it is. So
//! the path must lead where only root can change what is there, the socket must be root's, and the
//! process that listens must be root's too: that is the kernel's word at the other end of each
//! connection (unix(7), `SO_PEERCRED`). A daemon that a user runs without privilege is not asked.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use super::DockerError;
use crate::attest::AttestorError;
use crate::attest::slots::Slots;
use crate::attest::unix::ANSWER_LIMIT;
use crate::trusted_path::{self, Owners};
use crate::weakened::Protection;

/// Why a socket is not the daemon's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A link, a file, a directory.
    #[error("is not a socket; name the socket itself in [attest.docker], not a link to it")]
    NotSocket,
    /// Somebody else made it.
    #[error("belongs to uid {0}, not to root; only a daemon that root runs is believed")]
    Owner(u32),
    /// Somebody else listens.
    #[error("is served by uid {0}, not by root; only a daemon that root runs is believed")]
    ServedBy(u32),
}

/// Connects to the daemon at `path`, which is absolute, for a peer of `uid`.
pub(super) async fn connect(path: &Path, look_ups: &Slots, uid: u32) -> Result<UnixStream, AttestorError> {
    if Protection::RuntimeSocket.is_out() {
        return Ok(open(path).await?);
    }
    let named = path.to_owned();
    // A path may lead across a file system that never answers.
    let real = look_ups.run(uid, ANSWER_LIMIT, move || Ok(look(&named)?)).await?;
    let stream = open(&real).await?;
    let server = stream.peer_cred().map_err(|source| unreachable("tell who serves", &real, source))?.uid();
    if server != 0 {
        return Err(DockerError::Socket { path: real, fault: Fault::ServedBy(server) }.into());
    }
    Ok(stream)
}

async fn open(path: &Path) -> Result<UnixStream, DockerError> {
    UnixStream::connect(path).await.map_err(|source| unreachable("connect to", path, source))
}

/// Where the socket really is, in directories that only root can change.
fn look(path: &Path) -> Result<PathBuf, DockerError> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(DockerError::Socket { path: path.to_owned(), fault: Fault::NotSocket });
    };
    let path = trusted_path::walk(directory, Owners::Root)?.join(name);
    let found = fs::symlink_metadata(&path).map_err(|source| unreachable("look for", &path, source))?;
    let fault = match found.uid() {
        _ if !found.file_type().is_socket() => Fault::NotSocket,
        0 => return Ok(path),
        uid => Fault::Owner(uid),
    };
    Err(DockerError::Socket { path, fault })
}

fn unreachable(doing: &'static str, path: &Path, source: io::Error) -> DockerError {
    DockerError::Unreachable { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::peer::children::is_root;

    /// A socket of root's in a directory of root's.
    fn served() -> (tempfile::TempDir, PathBuf, UnixListener) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        (directory, path, listener)
    }

    async fn connected(path: &Path) -> Result<UnixStream, AttestorError> {
        connect(path, &Slots::new(1, 1), 0).await
    }

    async fn complaint(path: &Path) -> String {
        connected(path).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_socket_of_roots_is_connected_to_also_through_a_linked_directory() {
        if is_root() {
            let (directory, path, _listener) = served();
            connected(&path).await.unwrap();
            let link = directory.path().join("link");
            symlink(directory.path(), &link).unwrap();
            connected(&link.join("docker.sock")).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_directory_that_somebody_else_writes_is_named() {
        if is_root() {
            let (directory, path, _listener) = served();
            let real = path.parent().unwrap().to_owned();
            for (mode, owner, fault) in [
                (0o1777, 0, "may be written by others; take that away (chmod go-w), or use a directory of its own"),
                (0o775, 0, "may be written by others; take that away (chmod go-w), or use a directory of its own"),
                (0o755, 1001, "belongs to uid 1001; it must belong to root"),
            ] {
                chown(directory.path(), Some(owner), None).unwrap();
                fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
                let said = complaint(&path).await;
                let expected = "Docker is not asked, since its socket could be another's: the directory";
                assert_eq!(said, format!("{expected} {} {fault}", real.display()));
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_a_socket_of_roots_is_named() {
        if is_root() {
            let (directory, path, _listener) = served();
            let link = path.with_file_name("link.sock");
            symlink(&path, &link).unwrap();
            let said = complaint(&link).await;
            assert!(
                said.ends_with(
                    "link.sock is not a socket; name the socket itself in [attest.docker], not a link to it"
                ),
                "{said}"
            );
            chown(&path, Some(1001), None).unwrap();
            let said = complaint(&path).await;
            assert!(
                said.ends_with(
                    "docker.sock belongs to uid 1001, not to root; only a daemon that root runs is believed"
                ),
                "{said}"
            );
            drop(directory);
            assert!(complaint(&path).await.contains("cannot look at the directory"));
        }
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_an_error_with_what_to_do() {
        if is_root() {
            let (_directory, path, listener) = served();
            drop(listener);
            let said = complaint(&path).await;
            assert!(said.starts_with("cannot connect to Docker at "), "{said}");
            fs::remove_file(&path).unwrap();
            let said = complaint(&path).await;
            assert!(said.starts_with("cannot look for Docker at "), "{said}");
            assert!(said.ends_with("; is the daemon running, and may the agent use its socket?"), "{said}");
        }
    }
}
