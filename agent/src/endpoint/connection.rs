//! One connection of a workload: its bytes, who sent them, and its place under the cap.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use super::frames::{FrameError, FrameWalker};
use super::outgoing::{FrameEnds, OwnFrame};
use crate::admission::{Key, Place};
use crate::drain::Drain;
use crate::peer::{self, Peer, PeerError};
use crate::weakened::Protection;

/// Who calls: what a service finds in the extensions of each request.
pub type Caller = Arc<Peer>;

/// Hears of each connection that is ended since another process than its peer spoke on it.
pub type OnIntrusion = Arc<dyn Fn(&Caller, PeerError) + Send + Sync>;

/// What a connection is known by, as the transport hands it to each request.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) caller: Caller,
    /// On whose account its requests are.
    pub(super) key: Key,
}

/// Bytes taken from the kernel at a time.
const READ_SIZE: usize = 4096;

/// Why the agent ends a connection.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Ending {
    #[error(transparent)]
    Frames(#[from] FrameError),
    #[error("the client sent no HTTP/2 preface in time")]
    NoPreface,
    #[error("another process speaks on the connection")]
    OtherSender,
    #[error("the agent stops")]
    Stop,
}

impl From<Ending> for io::Error {
    fn from(ending: Ending) -> Self {
        let kind = match ending {
            Ending::Frames(_) => io::ErrorKind::InvalidData,
            Ending::NoPreface => io::ErrorKind::TimedOut,
            Ending::OtherSender => io::ErrorKind::PermissionDenied,
            Ending::Stop => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, ending)
    }
}

/// An accepted connection with its identified peer.
///
/// It ends with an error when the client breaks the framing of HTTP/2, does not send the
/// preface in time, when another process than the peer speaks on it, or when `stop` says so.
pub(super) struct Connection {
    io: UnixStream,
    caller: Caller,
    on_intrusion: OnIntrusion,
    walker: FrameWalker,
    /// A frame of our own that goes out before anything else.
    own: Option<OwnFrame>,
    ends: FrameEnds,
    /// What the walker let through; `read` bytes of it the server has read.
    through: Vec<u8>,
    read: usize,
    ending: Option<Ending>,
    /// Until the preface has come.
    preface_limit: Option<Pin<Box<Sleep>>>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    place: Place,
}

impl Connection {
    /// `place` is given back when the connection is dropped. `preface_limit` starts now.
    pub(super) fn new(
        io: UnixStream,
        caller: Caller,
        place: Place,
        preface_limit: Duration,
        stop: Drain,
        on_intrusion: OnIntrusion,
    ) -> Self {
        Self {
            io,
            caller,
            on_intrusion,
            walker: FrameWalker::new(),
            own: None,
            ends: FrameEnds::default(),
            through: Vec::new(),
            read: 0,
            ending: None,
            preface_limit: Some(Box::pin(sleep(preface_limit))),
            stop: Box::pin(async move { stop.requested().await }),
            place,
        }
    }

    /// Hands what is through to the server; false if there is nothing.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = self.through.get(self.read..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        self.read += taken;
        if self.read == self.through.len() {
            // Most connections are quiet most of the time.
            (self.through, self.read) = (Vec::new(), 0);
        }
        true
    }

    /// Reads once and walks over what came. Ready with the number of bytes, 0 at the end.
    fn poll_walk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Who has sent nothing takes nobody's turn to be read.
        ready!(self.io.poll_read_ready(cx))?;
        if self.place.poll_may_read(cx).is_pending() {
            // Who has gone away holds no place until its turn to be read: nobody is there to be
            // answered.
            return if self.is_hung_up() { Poll::Ready(Ok(0)) } else { Poll::Pending };
        }
        let mut bytes = [0; READ_SIZE];
        let received = ready!(self.poll_receive(cx, &mut bytes))?;
        if let Some(sender) = received.sender.filter(|sender| *sender != self.caller.pid())
            && !Protection::Sender.is_out()
        {
            self.end_for(sender);
            return Poll::Ready(Ok(received.length));
        }
        if let Err(error) = self.walker.feed(&bytes[..received.length], &mut self.through) {
            tracing::debug!(pid = self.caller.pid(), %error, "the client breaks the framing of HTTP/2");
            self.ending = Some(Ending::Frames(error));
        }
        self.walker.answers().for_each(|answer| self.caller.answered(answer));
        if self.walker.has_preface() {
            self.preface_limit = None;
        }
        Poll::Ready(Ok(received.length))
    }

    /// Whether the client has closed the connection, not only its own direction (poll(2), POLLHUP).
    fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self.io.as_fd(), PollFlags::empty())];
        let told = poll(&mut fds, PollTimeout::ZERO);
        told.is_ok() && fds[0].revents().is_some_and(|told| told.contains(PollFlags::POLLHUP))
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<peer::Received>> {
        loop {
            ready!(self.io.poll_read_ready(cx))?;
            match self.io.try_io(Interest::READABLE, || peer::receive(&self.io, bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return Poll::Ready(received),
            }
        }
    }

    /// Not a byte of another process is walked over, and nothing more is said to anybody.
    fn end_for(&mut self, sender: i32) {
        tracing::debug!(pid = self.caller.pid(), sender, "another process speaks on the connection");
        self.ending = Some(Ending::OtherSender);
        self.caller.spoken_for_by(sender);
        (self.on_intrusion)(&self.caller, PeerError::OtherSender { pid: sender });
    }

    /// Whether there is something of our own to say, now or once the server's frame is out.
    fn has_own(&mut self, cx: &Context<'_>) -> bool {
        if self.own.is_none() {
            self.own = self.caller.to_say(cx).map(OwnFrame::of);
        }
        self.own.is_some()
    }

    /// Writes what is of our own, if the server is between two frames. Ready when nothing of it
    /// is half out.
    fn poll_say(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_own(cx) && self.ends.is_between_frames() {
            let Some(own) = &mut self.own else { break };
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, own.rest()))?;
            own.wrote(written);
            if own.rest().is_empty() {
                self.own = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sees to it that the task is woken when a limit is reached or a stop is asked for.
    fn check_limits(&mut self, cx: &mut Context<'_>) {
        if self.ending.is_none() && self.stop.as_mut().poll(cx).is_ready() {
            self.ending = Some(Ending::Stop);
        }
        if self.ending.is_none()
            && let Some(limit) = &mut self.preface_limit
            && limit.as_mut().poll(cx).is_ready()
        {
            self.ending = Some(Ending::NoPreface);
        }
    }

    /// What the server may still write: everything, so that it can say GOAWAY, unless it was
    /// given its time to do so.
    fn check_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.check_limits(cx);
        match self.ending {
            Some(ending @ (Ending::Stop | Ending::OtherSender)) => Err(ending.into()),
            _ => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Arrival;

    fn connect_info(&self) -> Arrival {
        Arrival { caller: Arc::clone(&self.caller), key: self.place.key().clone() }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.check_limits(cx);
        // What cannot be written now is written when there is room: the task is woken then. That
        // the writing failed is found by reading, too.
        let _ = this.poll_say(cx);
        loop {
            // Nothing handed over means "end of input" to the server, so the loop goes on
            // while the walker holds back; what it holds is bounded.
            if buf.remaining() == 0 || this.hand_over(buf) {
                return Poll::Ready(Ok(()));
            }
            if let Some(ending) = this.ending {
                return Poll::Ready(Err(ending.into()));
            }
            if ready!(this.poll_walk(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.check_write(cx)?;
        ready!(this.poll_say(cx))?;
        // What is of our own goes out at the end of the server's frame.
        let length = if this.has_own(cx) { this.ends.until_end(bytes) } else { bytes.len() };
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, &bytes[..length]))?;
        this.ends.advance(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    // Not vectored: a token and its trailers then go out in one write, since the server copies answers of their size
    // (up to 1024 bytes) behind the header, which it would otherwise write by themselves.
}

#[cfg(test)]
mod tests;
