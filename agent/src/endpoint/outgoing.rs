//! What the agent itself says on a connection, between the frames of the HTTP/2 server.
//!
//! The server behind knows nothing of it: a PING is answered by every HTTP/2 library by itself, and
//! a GOAWAY tells a client to open its next stream elsewhere while those under way go on
//! (RFC 9113, sections 6.7 and 6.8).

use crate::peer::ToSay;

use super::frames::{FRAME_HEADER, PING};

const GOAWAY: u8 = 0x7;
/// Every stream that a client could have opened.
const LAST_STREAM: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];
const NO_ERROR: [u8; 4] = [0; 4];
/// Both frames have a payload of eight bytes.
const FRAME: usize = FRAME_HEADER + 8;

/// A frame of the agent's own, as far as it is still to be written.
pub(super) struct OwnFrame {
    bytes: [u8; FRAME],
    written: usize,
}

impl OwnFrame {
    pub(super) fn of(to_say: ToSay) -> Self {
        let (kind, payload) = match to_say {
            ToSay::Challenge(challenge) => (PING, challenge),
            ToSay::GoAway => {
                let mut payload = [0; 8];
                payload[..4].copy_from_slice(&LAST_STREAM);
                payload[4..].copy_from_slice(&NO_ERROR);
                (GOAWAY, payload)
            }
        };
        // Length 8, no flags, stream 0.
        let mut bytes = [0; FRAME];
        bytes[2] = 8;
        bytes[3] = kind;
        bytes[FRAME_HEADER..].copy_from_slice(&payload);
        Self { bytes, written: 0 }
    }

    /// What is still to be written; empty when all is.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    pub(super) fn wrote(&mut self, length: usize) {
        self.written += length;
    }
}

/// Where the frames of the server end in the bytes that it writes.
#[derive(Default)]
pub(super) struct FrameEnds {
    header: [u8; FRAME_HEADER],
    seen: usize,
    payload_left: usize,
    any: bool,
}

impl FrameEnds {
    /// Whether a frame of the agent's own may be written now: the server's first frame, its
    /// SETTINGS, is out, and no other is half out.
    pub(super) fn is_between_frames(&self) -> bool {
        self.any && self.seen == 0 && self.payload_left == 0
    }

    /// How many of these bytes, which the server wants to write next, end its current frame: at
    /// least one of any.
    pub(super) fn until_end(&self, bytes: &[u8]) -> usize {
        let mut ends = Self { header: self.header, ..*self };
        let mut taken = 0;
        while taken < bytes.len() {
            taken += ends.step(&bytes[taken..]);
            if ends.is_between_frames() {
                break;
            }
        }
        taken
    }

    /// Goes on over bytes that were written.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// Takes at least one byte and at most the rest of one header or payload.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload_left > 0 {
            let taken = self.payload_left.min(bytes.len());
            self.payload_left -= taken;
            return taken;
        }
        let taken = (FRAME_HEADER - self.seen).min(bytes.len());
        self.header[self.seen..self.seen + taken].copy_from_slice(&bytes[..taken]);
        self.seen += taken;
        if self.seen == FRAME_HEADER {
            let [a, b, c, ..] = self.header;
            self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.seen = 0;
            self.any = true;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_encoder::frame;
    use super::*;

    #[test]
    fn nothing_is_said_before_the_servers_settings() {
        let mut ends = FrameEnds::default();
        assert!(!ends.is_between_frames());
        ends.advance(&frame(4, 0, 0, b""));
        assert!(ends.is_between_frames());
    }

    #[test]
    fn own_frames_are_what_the_standard_says() {
        let challenge = OwnFrame::of(ToSay::Challenge(*b"12345678"));
        assert_eq!(challenge.rest(), frame(PING, 0, 0, b"12345678"));
        let mut away = OwnFrame::of(ToSay::GoAway);
        assert_eq!(away.rest(), frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
        away.wrote(17);
        assert!(away.rest().is_empty());
    }

    proptest! {
        #[test]
        fn the_ends_of_frames_are_found_in_any_cut(
            payloads in prop::collection::vec(0..300_usize, 1..8),
            cuts in prop::collection::vec(1..64_usize, 1..200),
        ) {
            let frames: Vec<_> = payloads.iter().map(|length| frame(0, 0, 1, &vec![0xff; *length])).collect();
            let bytes = frames.concat();
            let mut expected: Vec<usize> = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).collect();
            let (mut ends, mut at, mut found) = (FrameEnds::default(), 0, vec![]);
            for cut in cuts.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let next = &bytes[at..bytes.len().min(at + cut)];
                let taken = ends.until_end(next);
                prop_assert!(taken > 0 && taken <= next.len());
                ends.advance(&next[..taken]);
                at += taken;
                if ends.is_between_frames() {
                    found.push(at);
                }
            }
            expected.dedup();
            prop_assert_eq!(found, expected);
        }
    }
}
