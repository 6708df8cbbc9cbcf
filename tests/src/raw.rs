//! HTTP/2 byte by byte, for clients that no library would be: it blocks, sends what it is told,
//! and may be taken over by another process (RFC 9113).

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixCredentials, recv, sendmsg};

use crate::wait::LIMIT;

/// DATA.
pub const DATA: u8 = 0x0;
/// HEADERS.
pub const HEADERS: u8 = 0x1;
/// RST_STREAM.
pub const RST_STREAM: u8 = 0x3;
/// SETTINGS.
pub const SETTINGS: u8 = 0x4;
/// PING.
pub const PING: u8 = 0x6;

const WINDOW_UPDATE: u8 = 0x8;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// `grpc-status: 7` ends a header block so: the value, Huffman-coded (RFC 7541, appendix B).
const PERMISSION_DENIED: [u8; 2] = [0x81, 0x77];

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The connection preface with settings (identifier, value).
pub fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        settings.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(SETTINGS, 0, 0, &payload).as_slice()].concat()
}

/// The HEADERS frame of a call of the Workload API, `more` headers included.
pub fn request_headers(stream: u32, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let path = format!("/SpiffeWorkloadAPI/{method}");
    let fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path.as_str()),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("workload.spiffe.io", "true"),
    ];
    frame(HEADERS, END_HEADERS, stream, &block(fixed.iter().chain(more)))
}

/// Literals without indexing, not Huffman-coded, shorter than 127 bytes (RFC 7541, section 6.2.2).
fn block<'a>(headers: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = vec![];
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The DATA frame with a whole gRPC message, the last of its stream.
pub fn grpc_message(stream: u32, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    frame(DATA, END_STREAM, stream, &[&[0][..], &length, message].concat())
}

/// How a call ended, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Messages that came since it was last looked at.
    pub messages: usize,
    /// Whether the status was `PermissionDenied`.
    pub denied: bool,
}

/// A connection.
#[derive(Debug)]
pub struct RawConnection {
    socket: UnixStream,
    next_stream: u32,
    manners: Manners,
}

/// How the agent's own questions are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manners {
    /// As every HTTP/2 library does.
    #[default]
    Honest,
    /// Not at all.
    Mute,
    /// In the name of this process, which the kernel must let one do.
    InTheNameOf(i32),
}

impl RawConnection {
    /// Connects, and says nothing.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn silent(socket: &Path) -> io::Result<Self> {
        let socket = UnixStream::connect(socket)?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_write_timeout(Some(LIMIT))?;
        Ok(Self { socket, next_stream: 1, manners: Manners::Honest })
    }

    /// Connects, begins to speak HTTP/2, and waits only a second for the agent to take more.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn impatient(socket: &Path) -> io::Result<Self> {
        let connection = Self::open(socket)?;
        connection.socket.set_write_timeout(Some(std::time::Duration::from_secs(1)))?;
        Ok(connection)
    }

    /// Connects, and begins to speak HTTP/2.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let mut connection = Self::silent(socket)?;
        // No table for headers (SETTINGS_HEADER_TABLE_SIZE): a status is written out each time.
        connection.send(&preface(&[(1, 0)]))?;
        // More than any test receives: what it receives is not given back.
        connection.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()))?;
        Ok(connection)
    }

    /// Goes on with a connection that another process or program opened.
    pub fn adopt(socket: OwnedFd, next_stream: u32, manners: Manners) -> Self {
        Self { socket: socket.into(), next_stream, manners }
    }

    /// Whether the agent has said something that was not read yet.
    pub fn has_heard(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.socket.as_raw_fd(), &mut [0], flags).is_ok_and(|bytes| bytes > 0)
    }

    /// A copy of the descriptor.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }

    /// The next stream to open.
    pub fn next_stream(&self) -> u32 {
        self.next_stream
    }

    /// The socket, and the next stream.
    pub fn give_up(self) -> (OwnedFd, u32) {
        (self.socket.into(), self.next_stream)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The agent has ended the connection, or takes nothing.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Begins a call; what comes of it is to be read.
    ///
    /// # Errors
    /// The agent has ended the connection.
    pub fn call(&mut self, method: &str, message: &[u8]) -> io::Result<u32> {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.send(&[request_headers(stream, method, &[]), grpc_message(stream, message)].concat())?;
        Ok(stream)
    }

    /// The next frame: kind, flags, stream and payload. Answers SETTINGS and PING.
    ///
    /// # Errors
    /// The agent has ended the connection, or says nothing.
    pub fn next_frame(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut header = [0; 9];
        self.socket.read_exact(&mut header)?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits")];
        self.socket.read_exact(&mut payload)?;
        if matches!(kind, SETTINGS | PING) && flags & ACK == 0 {
            let answer = if kind == PING { payload.as_slice() } else { &[] };
            self.answer(&frame(kind, ACK, 0, answer))?;
        }
        Ok((kind, flags, u32::from_be_bytes(stream), payload))
    }

    fn answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.manners {
            Manners::Honest => self.send(bytes),
            Manners::Mute => Ok(()),
            Manners::InTheNameOf(pid) => {
                let own = UnixCredentials::new();
                let named = UnixCredentials::from(nix::libc::ucred { pid, uid: own.uid(), gid: own.gid() });
                let control = [ControlMessage::ScmCredentials(&named)];
                let slices = [io::IoSlice::new(bytes)];
                sendmsg::<()>(self.socket.as_raw_fd(), &slices, &control, MsgFlags::empty(), None)?;
                Ok(())
            }
        }
    }

    /// Reads until a message of `stream` comes.
    ///
    /// # Errors
    /// As [`RawConnection::next_frame`]; or the call ended before.
    pub fn message(&mut self, stream: u32) -> io::Result<()> {
        loop {
            let (kind, flags, of, payload) = self.next_frame()?;
            if of == stream && kind == DATA && !payload.is_empty() {
                return Ok(());
            }
            if of == stream && (kind == RST_STREAM || flags & END_STREAM != 0) {
                return Err(io::Error::other("the call ended without a message"));
            }
        }
    }

    /// Reads until `stream` ends.
    ///
    /// # Errors
    /// As [`RawConnection::next_frame`].
    pub fn end_of(&mut self, stream: u32) -> io::Result<Ended> {
        let mut messages = 0;
        loop {
            let (kind, flags, of, payload) = self.next_frame()?;
            if of != stream {
                continue;
            }
            if kind == DATA && !payload.is_empty() {
                messages += 1;
            }
            if kind == RST_STREAM {
                return Ok(Ended { messages, denied: false });
            }
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                let denied = kind == HEADERS && payload.windows(2).any(|bytes| bytes == PERMISSION_DENIED);
                return Ok(Ended { messages, denied });
            }
        }
    }

    /// Reads until the agent ends the connection.
    ///
    /// # Errors
    /// It says nothing, and does not end it either.
    pub fn until_closed(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
