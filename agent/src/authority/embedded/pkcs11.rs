//! A PKCS#11 token that holds private keys: they are made in it, sign in it, and never leave it
//! (PKCS #11 Cryptographic Token Interface Base Specification, version 2.40).
//!
//! The module is code of the operator's choice that runs in this process, so nobody else may be able
//! to replace it. Who is connected, and how often, the room below knows.

mod asking;
mod connection;
mod key;
mod signature;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cryptoki::error::Error;
use cryptoki::types::AuthPin;

use super::key_file::{self, Fault, SecretSource};
use crate::authority::AuthorityError;
use crate::trusted_path::{self, Owners, PathError};
use asking::Asking;
use connection::Connection;
use key::Made;
pub(super) use key::{KeyId, Pkcs11Key, REFERENCE};
pub(super) use signature::to_asn1;

/// How long a token may take to sign.
pub(super) const SIGNS_WITHIN: Duration = Duration::from_secs(5);

/// How long it may take to make a key, or to forget one.
pub(super) const MAKES_WITHIN: Duration = Duration::from_secs(60);

/// The longest PIN that is read, in bytes.
const MAX_PIN_BYTES: usize = 256;

/// Bits that others must not have on a module: whoever writes it is this process.
const OTHERS_WRITE: u32 = 0o022;

/// Where the token is, and how it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11Source {
    /// The token's PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// Where the PIN of its user is: a file or credential with nothing else in it.
    pub pin: SecretSource,
}

/// A token that its user is logged in to.
pub struct Pkcs11Token {
    connection: Connection,
    asking: Asking,
    /// Keys that were made and that no saved state names so far.
    made: Mutex<Vec<Made>>,
}

/// Why the token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs11Error {
    /// Somebody else could replace the module.
    #[error("cannot trust the path of the PKCS#11 module {}: {source}", path.display())]
    ModulePath {
        /// The module.
        path: PathBuf,
        /// What is wrong on the way.
        source: PathError,
    },
    /// There is no such file, or others may write it.
    #[error("cannot use the PKCS#11 module {}: {reason}", path.display())]
    Module {
        /// The module.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no PIN to be had.
    #[error("cannot read the PIN of authority.pkcs11 from {from}: {fault}")]
    Pin {
        /// The file or credential.
        from: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// No token has this label.
    #[error("there is no token with the label {label:?}; the module knows {found:?}")]
    NoToken {
        /// The label of the configuration.
        label: String,
        /// Those that there are.
        found: Vec<String>,
    },
    /// Several tokens have it.
    #[error("{count} tokens have the label {label:?}; give the one that is meant a label of its own")]
    SeveralTokens {
        /// The label of the configuration.
        label: String,
        /// How many.
        count: usize,
    },
    /// A wrong PIN more would lock the token, and so this one is not tried.
    #[error(
        "token {label:?} has had wrong PINs and allows one more try, or is locked; log in to it by hand with the right \
         PIN, put that where authority.pkcs11.pin is, and start the agent again"
    )]
    PinLocked {
        /// The token.
        label: String,
    },
    /// The PIN is not that of the token's user.
    #[error("the PIN of authority.pkcs11 is not that of the user of token {label:?}")]
    WrongPin {
        /// The token.
        label: String,
    },
    /// The token holds no such key.
    #[error(
        "token {label:?} has no private key with id {id}; use the token that the keys were made in, or the backup that \
         belongs to this one"
    )]
    NoKey {
        /// The token.
        label: String,
        /// The key's CKA_ID in hexadecimal.
        id: KeyId,
    },
    /// A key that could leave the token, or is not the one that it should be.
    #[error("key {id} of token {label:?} {fault}")]
    Unfit {
        /// The token.
        label: String,
        /// The key's CKA_ID in hexadecimal.
        id: KeyId,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The token, or its module, failed.
    #[error("token {label:?} could not {doing}: {source}")]
    Failed {
        /// The token.
        label: String,
        /// What it was asked for.
        doing: &'static str,
        /// What it said.
        source: Error,
    },
    /// It did not answer in time, or does not answer somebody before.
    #[error("token {label:?} does not answer")]
    Slow {
        /// The token.
        label: String,
    },
    /// The crypto library failed.
    #[error("the crypto library could not {0}")]
    Crypto(&'static str),
}

impl Pkcs11Token {
    /// Loads the module, finds the token and logs in. Blocks.
    ///
    /// # Errors
    /// Why the token cannot be used.
    pub fn open(source: &Pkcs11Source) -> Result<Self, Pkcs11Error> {
        let pin = read_pin(&source.pin)?;
        let path = trusted(&source.module)?;
        let connection = Connection::open(path, source.token.clone(), pin)?;
        Ok(Self { connection, asking: Asking::default(), made: Mutex::default() })
    }

    /// Does `work`, which asks the token, on a thread that may block.
    ///
    /// # Errors
    /// Those of `work`, or it took longer than `limit`.
    pub(super) async fn within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> Result<T, AuthorityError> + Send + 'static,
    ) -> Result<T, AuthorityError> {
        let slow = || AuthorityError::Pkcs11(Pkcs11Error::Slow { label: self.label() });
        self.asking.within(limit, work).await.unwrap_or_else(|| Err(slow()))
    }

    fn label(&self) -> String {
        self.connection.label().to_owned()
    }
}

impl fmt::Debug for Pkcs11Token {
    /// Which token; nothing of its PIN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Token").field("label", &self.connection.label()).finish_non_exhaustive()
    }
}

/// Where the module really is, if nobody but root and this user can put another one there.
fn trusted(path: &Path) -> Result<PathBuf, Pkcs11Error> {
    let unfit = |reason: String| Pkcs11Error::Module { path: path.to_owned(), reason };
    let walk = |path: &Path| {
        let directory = path.parent().unwrap_or(Path::new("/"));
        trusted_path::walk(directory, Owners::RootAndThisUser)
            .map_err(|source| Pkcs11Error::ModulePath { path: path.to_owned(), source })
    };
    walk(path)?;
    let real = fs::canonicalize(path).map_err(|error| unfit(error.to_string()))?;
    walk(&real)?;
    let found = fs::metadata(&real).map_err(|error| unfit(error.to_string()))?;
    key_file::judge(&found, !OTHERS_WRITE, nix::unistd::geteuid().as_raw())
        .map_err(|fault| unfit(fault.to_string()))?;
    Ok(real)
}

/// The PIN, without the end of its line.
fn read_pin(source: &SecretSource) -> Result<AuthPin, Pkcs11Error> {
    let refused = |fault| Pkcs11Error::Pin { from: source.to_string(), fault };
    let bytes = source.read(MAX_PIN_BYTES).map_err(refused)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refused(Fault::NotText))?;
    Ok(AuthPin::new(text.trim_end_matches(['\r', '\n']).into()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
