//! One connection of a workload: its bytes, who sent them, and its place under the cap.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use super::frames::{FrameError, FrameWalker};
use crate::drain::Drain;
use crate::peer::Peer;

/// Who calls: what a service finds in the extensions of each request.
pub type Caller = Arc<Peer>;

/// Bytes taken from the kernel at a time.
const READ_SIZE: usize = 4096;
/// A buffer that grew past this for one large header block is given back.
const KEPT_CAPACITY: usize = 2 * READ_SIZE;

/// Why the agent ends a connection.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Ending {
    #[error(transparent)]
    Frames(#[from] FrameError),
    #[error("the client sent no HTTP/2 preface in time")]
    NoPreface,
    #[error("the agent stops")]
    Stop,
}

impl From<Ending> for io::Error {
    fn from(ending: Ending) -> Self {
        let kind = match ending {
            Ending::Frames(_) => io::ErrorKind::InvalidData,
            Ending::NoPreface => io::ErrorKind::TimedOut,
            Ending::Stop => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, ending)
    }
}

/// An accepted connection with its identified peer.
///
/// It ends with an error when the client breaks the framing of HTTP/2, does not send the
/// preface in time, or when `stop` says so.
pub(super) struct Connection {
    io: UnixStream,
    caller: Caller,
    walker: FrameWalker,
    /// What the walker let through; `read` bytes of it the server has read.
    through: Vec<u8>,
    read: usize,
    ending: Option<Ending>,
    /// Until the preface has come.
    preface_limit: Option<Pin<Box<Sleep>>>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// `place` is given back when the connection is dropped. `preface_limit` starts now.
    pub(super) fn new(
        io: UnixStream,
        caller: Caller,
        place: OwnedSemaphorePermit,
        preface_limit: Duration,
        stop: Drain,
    ) -> Self {
        Self {
            io,
            caller,
            walker: FrameWalker::new(),
            through: Vec::new(),
            read: 0,
            ending: None,
            preface_limit: Some(Box::pin(sleep(preface_limit))),
            stop: Box::pin(async move { stop.requested().await }),
            _place: place,
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
            self.through.clear();
            self.through.shrink_to(KEPT_CAPACITY);
            self.read = 0;
        }
        true
    }

    /// Reads once and walks over what came. Ready with the number of bytes, 0 at the end.
    fn poll_walk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; READ_SIZE];
        let mut buf = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
        if let Err(error) = self.walker.feed(buf.filled(), &mut self.through) {
            tracing::debug!(pid = self.caller.pid(), %error, "the client breaks the framing of HTTP/2");
            self.ending = Some(Ending::Frames(error));
        }
        if self.walker.has_preface() {
            self.preface_limit = None;
        }
        Poll::Ready(Ok(buf.filled().len()))
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
            Some(ending @ Ending::Stop) => Err(ending.into()),
            _ => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Arc::clone(&self.caller)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.check_limits(cx);
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
        self.check_write(cx)?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_write(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
