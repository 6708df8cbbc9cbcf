//! Messages to systemd: ready, stopping, alive. See sd_notify(3).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// Longest wait for the service manager to take one message.
const SEND_LIMIT: Duration = Duration::from_secs(1);
/// Bytes of a status that are sent.
const STATUS_BYTES: usize = 512;

/// The service manager cannot be told. Its fault or that of who set up `$NOTIFY_SOCKET`.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The socket cannot be reached.
    #[error(
        "cannot reach the service manager at {socket:?}: {source}; check NotifyAccess= of the unit, or unset NOTIFY_SOCKET"
    )]
    Connect {
        /// What `$NOTIFY_SOCKET` says.
        socket: OsString,
        /// What the kernel said.
        source: io::Error,
    },
    /// A message was not taken.
    #[error("the service manager at {socket:?} did not take a message: {source}")]
    Send {
        /// What `$NOTIFY_SOCKET` says.
        socket: OsString,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The line to the service manager. Without a service manager every message goes nowhere and succeeds.
#[derive(Debug)]
pub struct Notifier {
    supervisor: Option<(UnixDatagram, OsString)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment of this process says: `$NOTIFY_SOCKET`, `$WATCHDOG_USEC`, `$WATCHDOG_PID`.
    ///
    /// # Errors
    /// There is a service manager and it cannot be reached.
    pub fn from_environment() -> Result<Self, HealthError> {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
        Self::new(socket, sd_notify::watchdog_enabled())
    }

    /// To the service manager at `socket`: an absolute path, or `@` and an abstract name.
    /// It kills this process when it hears nothing for as long as `watchdog`.
    ///
    /// # Errors
    /// The socket cannot be reached.
    pub fn new(socket: Option<OsString>, watchdog: Option<Duration>) -> Result<Self, HealthError> {
        let supervisor = match socket {
            None => None,
            Some(socket) => match connect(&socket) {
                Ok(connected) => Some((connected, socket)),
                Err(source) => return Err(HealthError::Connect { socket, source }),
            },
        };
        Ok(Self { supervisor, watchdog: watchdog.filter(|limit| !limit.is_zero()) })
    }

    /// Start-up is over and requests are answered.
    ///
    /// # Errors
    /// The message was not taken.
    pub fn ready(&self, status: &str) -> Result<(), HealthError> {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
    }

    /// The agent drains and will exit.
    ///
    /// # Errors
    /// The message was not taken.
    pub fn stopping(&self) -> Result<(), HealthError> {
        self.send(&[NotifyState::Stopping, NotifyState::Status("draining")])
    }

    /// How long the service manager waits for a sign of life; None if it asked for none.
    pub fn watchdog_limit(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.supervisor.is_some())
    }

    pub(super) fn alive(&self) -> Result<(), HealthError> {
        self.send(&[NotifyState::Watchdog])
    }

    /// One datagram for all states, so that the manager sees them at once.
    fn send(&self, states: &[NotifyState<'_>]) -> Result<(), HealthError> {
        let Some((supervisor, socket)) = &self.supervisor else { return Ok(()) };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        match supervisor.send(message.as_bytes()) {
            Ok(_) => Ok(()),
            Err(source) => Err(HealthError::Send { socket: socket.clone(), source }),
        }
    }
}

fn connect(socket: &OsStr) -> io::Result<UnixDatagram> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither an absolute path nor an abstract name")),
    };
    let connected = UnixDatagram::unbound()?;
    connected.connect_addr(&address)?;
    connected.set_write_timeout(Some(SEND_LIMIT))?;
    Ok(connected)
}

/// A line break would end the status and begin another assignment of the protocol.
fn one_line(status: &str) -> String {
    let kept = status.get(..status.floor_char_boundary(STATUS_BYTES)).unwrap_or_default();
    kept.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests;
