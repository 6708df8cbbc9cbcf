//! Walks the HTTP/2 frames that a client sends, in front of the HTTP/2 server.
//!
//! Everything passes unchanged and in order, except the authority in header blocks
//! (`authority`). Header blocks are held back until they are complete; all other bytes go
//! on at once. The number of bytes never changes. Bytes in, bytes out: no I/O here.
//!
//! Answers to PINGs are also told to the connection, which knows who sent the bytes.

use crate::peer::Challenge;

use super::header_block::{HeaderBlock, MAX_BLOCK, MAX_BLOCK_FRAMES};

/// What a client sends first (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's header (RFC 9113, section 4.1).
pub(super) const FRAME_HEADER: usize = 9;
/// Largest payload of a frame: the initial SETTINGS_MAX_FRAME_SIZE, which the server keeps.
pub(super) const MAX_PAYLOAD: usize = 16_384;

const HEADERS: u8 = 0x1;
/// PING, whose payload are eight bytes (RFC 9113, section 6.7).
pub(super) const PING: u8 = 0x6;
const ACK: u8 = 0x1;
const CONTINUATION: u8 = 0x9;

/// Why a connection cannot go on. The bytes that show the fault are passed on first, so that
/// the server behind can still say GOAWAY with its own reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the client does not speak HTTP/2: wrong connection preface")]
    Preface,
    #[error("a frame of the client is longer than {MAX_PAYLOAD} bytes")]
    FrameTooLong,
    #[error("the client sent a CONTINUATION outside of a header block, or another frame inside of one")]
    OutOfPlace,
    #[error("a header block of the client is longer than {MAX_BLOCK} bytes or {MAX_BLOCK_FRAMES} frames")]
    BlockTooLong,
    #[error("the padding of a HEADERS frame is longer than the frame")]
    Padding,
}

/// The state of one connection's client-to-server direction.
pub(super) struct FrameWalker {
    state: State,
    block: Option<HeaderBlock>,
    answer: Option<Answer>,
    answers: Vec<Challenge>,
}

/// The answer to a PING that is passing.
#[derive(Default)]
struct Answer {
    bytes: Challenge,
    seen: usize,
}

#[derive(Clone, Copy)]
enum State {
    Preface { seen: usize },
    Header { bytes: [u8; FRAME_HEADER], seen: usize },
    Payload { left: usize },
    Failed(FrameError),
}

const NEXT_HEADER: State = State::Header { bytes: [0; FRAME_HEADER], seen: 0 };

impl FrameWalker {
    /// At the start of a connection.
    pub(super) fn new() -> Self {
        Self { state: State::Preface { seen: 0 }, block: None, answer: None, answers: Vec::new() }
    }

    /// Whether the connection preface is through.
    pub(super) fn has_preface(&self) -> bool {
        !matches!(self.state, State::Preface { .. })
    }

    /// The answers to PINGs that the last bytes completed, in their order.
    pub(super) fn answers(&mut self) -> std::vec::Drain<'_, Challenge> {
        self.answers.drain(..)
    }

    /// How many bytes were taken and are held back.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        let of_header = if let State::Header { seen, .. } = self.state { seen } else { 0 };
        of_header + self.block.as_ref().map_or(0, |block| block.as_it_came().len())
    }

    /// Takes the next bytes of the client and appends to `out` what the server may read.
    ///
    /// # Errors
    /// The connection must end once `out` is read. Every later call says the same.
    pub(super) fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        while !input.is_empty() {
            let taken = self.step(input, out);
            if let State::Failed(error) = self.state {
                return Err(error);
            }
            input = input.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Takes at least one byte and says how many.
    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        match self.state {
            State::Preface { seen } => self.preface(seen, input, out),
            State::Header { bytes, seen } => self.header(bytes, seen, input, out),
            State::Payload { left } => self.payload(left, input, out),
            State::Failed(_) => 0,
        }
    }

    fn preface(&mut self, seen: usize, input: &[u8], out: &mut Vec<u8>) -> usize {
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let wrong = input.iter().zip(expected).position(|(byte, expected)| byte != expected);
        // The first wrong byte is the last that passes, however the bytes are cut.
        let taken = wrong.map_or(expected.len().min(input.len()), |at| at + 1);
        out.extend_from_slice(&input[..taken]);
        self.state = if wrong.is_some() {
            State::Failed(FrameError::Preface)
        } else if seen + taken == PREFACE.len() {
            NEXT_HEADER
        } else {
            State::Preface { seen: seen + taken }
        };
        taken
    }

    fn header(&mut self, mut bytes: [u8; FRAME_HEADER], seen: usize, input: &[u8], out: &mut Vec<u8>) -> usize {
        let taken = (FRAME_HEADER - seen).min(input.len());
        bytes[seen..seen + taken].copy_from_slice(&input[..taken]);
        self.state = State::Header { bytes, seen: seen + taken };
        if seen + taken == FRAME_HEADER
            && let Err(error) = self.frame_begins(&bytes, out)
        {
            self.fail(error, &bytes, out);
        }
        taken
    }

    fn frame_begins(&mut self, bytes: &[u8; FRAME_HEADER], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let frame = FrameHeader::read(bytes);
        if frame.length > MAX_PAYLOAD {
            return Err(FrameError::FrameTooLong);
        }
        match (&mut self.block, frame.kind) {
            (None, HEADERS) => self.block = Some(HeaderBlock::begin(frame, bytes)?),
            (Some(block), CONTINUATION) if block.stream() == frame.stream => block.goes_on(frame, bytes)?,
            (None, kind) if kind != CONTINUATION => out.extend_from_slice(bytes),
            _ => return Err(FrameError::OutOfPlace),
        }
        let is_answer = frame.kind == PING && frame.flags & ACK != 0 && frame.stream == 0;
        self.answer = (is_answer && frame.length == size_of::<Challenge>()).then(Answer::default);
        self.payload_left(frame.length, out);
        Ok(())
    }

    fn payload(&mut self, left: usize, input: &[u8], out: &mut Vec<u8>) -> usize {
        let taken = left.min(input.len());
        match &mut self.block {
            Some(block) => block.push(&input[..taken]),
            None => out.extend_from_slice(&input[..taken]),
        }
        if let Some(Answer { bytes, seen }) = &mut self.answer {
            bytes[*seen..*seen + taken].copy_from_slice(&input[..taken]);
            *seen += taken;
        }
        self.payload_left(left - taken, out);
        taken
    }

    fn payload_left(&mut self, left: usize, out: &mut Vec<u8>) {
        if left > 0 {
            self.state = State::Payload { left };
            return;
        }
        self.state = NEXT_HEADER;
        self.answers.extend(self.answer.take().map(|answer| answer.bytes));
        if let Some(block) = &mut self.block
            && let Err(error) = block.frame_ends()
        {
            self.fail(error, &[], out);
        } else if let Some(block) = self.block.take_if(|block| block.is_complete()) {
            out.extend_from_slice(&block.plain());
        }
    }

    /// Lets go of everything that is held, unchanged, and ends the walk.
    fn fail(&mut self, error: FrameError, frame_header: &[u8], out: &mut Vec<u8>) {
        if let Some(block) = self.block.take() {
            out.extend_from_slice(block.as_it_came());
        }
        out.extend_from_slice(frame_header);
        self.state = State::Failed(error);
    }
}

/// A frame's header (RFC 9113, section 4.1).
#[derive(Clone, Copy)]
pub(super) struct FrameHeader {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHeader {
    fn read(bytes: &[u8; FRAME_HEADER]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        let length = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
        // The highest bit is reserved and ignored (RFC 9113, section 4.1).
        Self { length, kind, flags, stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]) }
    }
}

#[cfg(test)]
mod tests;
