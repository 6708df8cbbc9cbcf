//! The way to the token: a module that is loaded, a token that was found, sessions that are open.
//!
//! A session is used by one thread at a time; those that are free wait in a pool. Sessions are lost
//! when a token is taken out or its device starts anew, and then a module may know nothing true any
//! more: so what fails is tried in a new session, and after that with the module started anew, though
//! not often, since that may take a device seconds.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use super::{KeyId, Pkcs11Error, lock};

/// As many sessions are kept open while nobody needs them.
const IDLE_SESSIONS: usize = 8;

/// How long a module that was started anew is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// A token, and how to get to it again.
pub(super) struct Connection {
    path: PathBuf,
    label: String,
    pin: AuthPin,
    idle: Mutex<Vec<Opened>>,
    started: RwLock<Started>,
    /// Whether the token has refused the PIN. Each try more brings it nearer to being locked.
    has_refused: AtomicBool,
}

/// A module that was started. Whoever speaks to it holds this for reading.
struct Started {
    module: Pkcs11,
    /// None while it has not been found again.
    slot: Option<Slot>,
    at: Option<Instant>,
}

/// A session, with the handles of the keys that were found in it. A handle is good in its own session.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) handles: HashMap<KeyId, ObjectHandle>,
}

/// Why something was not done.
pub(super) enum Failure {
    /// The token does not have the key.
    NoKey(KeyId),
    /// The module said so.
    Said(Error),
    /// There is no way to the token.
    Unreachable(Pkcs11Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl Connection {
    /// Loads the module, finds the token and logs in.
    pub(super) fn open(path: PathBuf, label: String, pin: AuthPin) -> Result<Self, Pkcs11Error> {
        let module = Pkcs11::new(&path).map_err(unfit(&path))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(unfit(&path)(error)),
        }
        let slot = find(&module, &label)?;
        let started = RwLock::new(Started { module, slot: Some(slot), at: None });
        let has_refused = AtomicBool::new(false);
        let connection = Self { path, label, pin, idle: Mutex::default(), started, has_refused };
        let first = connection.log_in(&connection.started())?;
        connection.give_back(first);
        Ok(connection)
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Has `work` done in a session; more than once if what is known of the token may not be true
    /// any more.
    pub(super) fn in_session<T>(
        &self,
        doing: &'static str,
        work: impl Fn(&mut Opened) -> Result<T, Failure>,
    ) -> Result<T, Pkcs11Error> {
        let (idle, was) = (lock(&self.idle).pop(), self.started().at);
        let mut done = self.attempt(idle, &work);
        if done.as_ref().is_err_and(may_be_lost) {
            // What took one session has taken the others as well, and a login lasts as long as one does.
            lock(&self.idle).clear();
            done = self.attempt(None, &work);
        }
        if done.as_ref().is_err_and(may_be_lost) && self.start_anew(was) {
            done = self.attempt(None, &work);
        }
        let label = || self.label.clone();
        done.map_err(|failure| match failure {
            Failure::NoKey(id) => Pkcs11Error::NoKey { label: label(), id },
            Failure::Said(source) => Pkcs11Error::Failed { label: label(), doing, source },
            Failure::Unreachable(error) => error,
        })
    }

    /// Does it once, in that session or in a new one.
    fn attempt<T>(&self, idle: Option<Opened>, work: impl Fn(&mut Opened) -> Result<T, Failure>) -> Result<T, Failure> {
        let started = self.started();
        let opened = idle.map_or_else(|| self.log_in(&started), Ok);
        let mut opened = opened.map_err(Failure::Unreachable)?;
        let done = work(&mut opened)?;
        // After a failure it is not known what state it is in: it is closed.
        self.give_back(opened);
        Ok(done)
    }

    /// A new session of the token's user.
    fn log_in(&self, started: &Started) -> Result<Opened, Pkcs11Error> {
        let failed = |doing| move |source| Pkcs11Error::Failed { label: self.label.clone(), doing, source };
        let label = || self.label.clone();
        if self.has_refused.load(Ordering::Acquire) {
            return Err(Pkcs11Error::WrongPin { label: label() });
        }
        let slot = started.slot.ok_or_else(|| Pkcs11Error::NoToken { label: label(), found: vec![] })?;
        let info = started.module.get_token_info(slot).map_err(failed("say what it is"))?;
        if info.user_pin_final_try() || info.user_pin_locked() {
            return Err(Pkcs11Error::PinLocked { label: label() });
        }
        let session = started.module.open_rw_session(slot).map_err(failed("open a session"))?;
        match session.login(UserType::User, Some(&self.pin)) {
            // The login is that of the process, not of the session.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(Error::Pkcs11(RvError::PinIncorrect, _)) => {
                self.has_refused.store(true, Ordering::Release);
                return Err(Pkcs11Error::WrongPin { label: label() });
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => return Err(Pkcs11Error::PinLocked { label: label() }),
            Err(error) => return Err(failed("log its user in")(error)),
        }
        Ok(Opened { session, handles: HashMap::new() })
    }

    /// Starts the module anew and looks for the token, unless that was done lately; whether it makes
    /// sense to try again. `was` is what the caller has tried with.
    fn start_anew(&self, was: Option<Instant>) -> bool {
        let mut started = self.started.write().unwrap_or_else(PoisonError::into_inner);
        if started.at != was {
            return true;
        }
        if started.at.is_some_and(|at| at.elapsed() < PAUSE) {
            return false;
        }
        started.at = Some(Instant::now());
        lock(&self.idle).clear();
        // It may not have been started any more.
        let _ = started.module.clone().finalize();
        let args = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        let found = started.module.initialize(args).map_err(unfit(&self.path));
        let found = found.and_then(|()| find(&started.module, &self.label));
        started.slot = found
            .inspect_err(|error| tracing::warn!(%error, "the token with the signing keys was not found again"))
            .ok();
        started.slot.is_some()
    }

    fn started(&self) -> RwLockReadGuard<'_, Started> {
        self.started.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, opened: Opened) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_SESSIONS {
            idle.push(opened);
        }
    }
}

/// Whether what is known of the token may not be true any more. What it refuses for good is not.
fn may_be_lost(failure: &Failure) -> bool {
    use RvError::{DataLenRange, DeviceMemory, KeyTypeInconsistent, MechanismInvalid, TokenWriteProtected};
    match failure {
        Failure::NoKey(_) => true,
        Failure::Said(Error::Pkcs11(said, _)) => {
            !matches!(said, DataLenRange | DeviceMemory | KeyTypeInconsistent | MechanismInvalid | TokenWriteProtected)
        }
        Failure::Said(_) => false,
        Failure::Unreachable(error) => !matches!(error, Pkcs11Error::WrongPin { .. } | Pkcs11Error::PinLocked { .. }),
    }
}

fn unfit(path: &std::path::Path) -> impl Fn(Error) -> Pkcs11Error + '_ {
    move |error| Pkcs11Error::Module { path: path.to_owned(), reason: error.to_string() }
}

fn find(module: &Pkcs11, label: &str) -> Result<Slot, Pkcs11Error> {
    let failed = |source| Pkcs11Error::Failed { label: label.to_owned(), doing: "be looked for", source };
    let (mut slots, mut found) = (Vec::new(), Vec::new());
    for slot in module.get_slots_with_initialized_token().map_err(failed)? {
        let info = module.get_token_info(slot).map_err(failed)?;
        // Labels are padded with blanks (section 3.2).
        let own = info.label().trim_end();
        if own == label {
            slots.push(slot);
        }
        found.push(own.to_owned());
    }
    match slots.as_slice() {
        [slot] => Ok(*slot),
        [] => Err(Pkcs11Error::NoToken { label: label.to_owned(), found }),
        several => Err(Pkcs11Error::SeveralTokens { label: label.to_owned(), count: several.len() }),
    }
}
