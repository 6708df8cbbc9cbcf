//! The accept loop: takes connections, identifies who is at the other end, and hands both on.
//!
//! One connection goes through five gates, cheapest first: `accept` itself, whether its user may
//! have one more, the identity of the peer as of `connect`, whether it may come now, and a
//! place for this user in this cgroup. Who has to wait for its turn, or for the end of a refused
//! connection, does so outside of the loop and within a bound: it must not stand in the queue of
//! the socket, which the kernel bounds for all together. The countersign belongs to the
//! connection, when the first bytes are walked.
//!
//! The loop never spins. Whatever `accept` says, it is asked again only after a wait, or
//! never. A kernel that is out of descriptors is the usual case, and any local user can
//! bring it about.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Connection, OnIntrusion};
use super::socket::Listener;
use crate::admission::{Admission, Key, Kind};
use crate::drain::Drain;
use crate::peer::{Peer, PeerError};

/// First wait after a failed accept; doubled up to [`LONGEST_PAUSE`] while it keeps failing.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest wait between two attempts to accept.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Whoever can connect can bring a warning about, so each is written at most this often.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How long a refused connection stays open, for its client to wait.
const LINGER: Duration = Duration::from_millis(250);
/// How many refused connections are open at once; the next ones are closed at once.
pub(crate) const LINGERING: usize = 128;

/// Where connections come from: a listening socket, or a script in tests.
pub(super) trait Incoming {
    /// The next connection.
    async fn next(&mut self) -> io::Result<UnixStream>;
}

impl Incoming for Listener {
    async fn next(&mut self) -> io::Result<UnixStream> {
        self.socket().accept().await.map(|(stream, _)| stream)
    }
}

/// What an accept loop needs beside the socket.
pub(super) struct AcceptLoop {
    /// Who may have a connection.
    pub(super) admission: Arc<Admission>,
    /// How long a client may take to send the HTTP/2 preface.
    pub(super) preface_limit: Duration,
    /// Ends the loop.
    pub(super) drain: Drain,
    /// Ends the connections.
    pub(super) stop: Drain,
    /// Hears of those that are ended for who speaks on them.
    pub(super) on_intrusion: OnIntrusion,
    /// Room for those who were refused and not yet closed.
    pub(super) lingering: Arc<Semaphore>,
    /// Takes what was accepted; bounded.
    pub(super) accepted: mpsc::Sender<io::Result<Connection>>,
}

impl AcceptLoop {
    /// Accepts until a drain is requested or nobody takes connections any more. Drops
    /// `incoming`, and with it the name of the socket, at the end.
    ///
    /// # Errors
    /// The socket cannot accept any more.
    pub(super) async fn run(self, mut incoming: impl Incoming) -> io::Result<()> {
        let drain = self.drain.clone();
        tokio::select! {
            () = drain.requested() => Ok(()),
            result = Arc::new(self).accept_all(&mut incoming) => result,
        }
    }

    async fn accept_all(self: Arc<Self>, incoming: &mut impl Incoming) -> io::Result<()> {
        let mut failing = Warning::default();
        loop {
            let stream = accept_one(incoming, &mut failing).await?;
            if let Some(connection) = self.admitted(stream)
                && self.accepted.send(Ok(connection)).await.is_err()
            {
                return Ok(());
            }
            // A storm always has one more that waits. It is taken after those who have asked meanwhile.
            yield_now().await;
        }
    }

    /// Who has its share of connections, or cannot be named, gets none, and is not told why.
    fn admitted(self: &Arc<Self>, stream: UnixStream) -> Option<Connection> {
        let connected = stream.peer_cred().ok()?;
        let (uid, pid) = (connected.uid(), connected.pid().unwrap_or_default());
        // Who waits for its turn holds a place as well, and is asked to pay for no more than it has places: so there
        // is a bound to how many wait, and to how long.
        let Some(waiting) = self.admission.place(Kind::Connection, &Key::of_user(uid), pid) else {
            return self.refused(stream);
        };
        let peer = identified(&stream)?;
        let Some(begins) = self.admission.connects(uid) else {
            drop(waiting);
            return self.placed(stream, peer);
        };
        let (this, drain) = (Arc::clone(self), self.drain.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = drain.requested() => return,
                () = sleep_until(begins) => drop(waiting),
            }
            if let Some(connection) = this.placed(stream, peer) {
                // Nobody takes it any more when the agent stops.
                let _ = this.accepted.send(Ok(connection)).await;
            }
        });
        None
    }

    fn placed(&self, stream: UnixStream, peer: Peer) -> Option<Connection> {
        let key = named(Key::of(&peer))?;
        let Some(place) = self.admission.place(Kind::Connection, &key, peer.pid()) else {
            return self.refused(stream);
        };
        let (stop, on_intrusion) = (self.stop.clone(), Arc::clone(&self.on_intrusion));
        Some(Connection::new(stream, Arc::new(peer), place, self.preface_limit, stop, on_intrusion))
    }

    /// Closes the connection a moment later, so that who connects again and again waits for the
    /// answer; at once if too many wait already.
    fn refused<T>(&self, stream: UnixStream) -> Option<T> {
        if let Ok(lingers) = Arc::clone(&self.lingering).try_acquire_owned() {
            let drain = self.drain.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = drain.requested() => {}
                    () = sleep(LINGER) => {}
                }
                drop((stream, lingers));
            });
        }
        None
    }
}

/// The peer as of `connect`, held from now on.
fn identified(stream: &UnixStream) -> Option<Peer> {
    named(Peer::of(stream))
}

fn named<T>(found: Result<T, PeerError>) -> Option<T> {
    found.inspect_err(|error| tracing::debug!(%error, "connection refused: its peer cannot be identified")).ok()
}

/// Accepts one connection, waiting as long as the kernel lacks the means.
async fn accept_one(incoming: &mut impl Incoming, failing: &mut Warning) -> io::Result<UnixStream> {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match incoming.next().await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        if is_final(&error) {
            return Err(error);
        }
        if failing.is_due() {
            tracing::warn!(%error, "cannot accept a connection; trying again");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// When a warning was last written.
#[derive(Default)]
struct Warning {
    last: Option<Instant>,
}

impl Warning {
    /// Whether it is time to write it again; a yes counts as written.
    fn is_due(&mut self) -> bool {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
        if is_due {
            self.last = Some(Instant::now());
        }
        is_due
    }
}

/// Whether the socket itself is at fault (accept(2)); everything else passes.
fn is_final(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EOPNOTSUPP | Errno::EFAULT))
}

#[cfg(test)]
mod tests;
