//! Streams of frames in any cut: what comes out, when, and what ends the walk.

use proptest::prelude::*;

use super::super::test_encoder::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INDEXED, NOT_INDEXED, PADDED, PING, PRIORITY, frame, literal,
    literal_by_index,
};
use super::{FRAME_HEADER, FrameError, FrameWalker, MAX_BLOCK_FRAMES, MAX_PAYLOAD, PREFACE};

const SOCKET: &str = "%2Frun%2Fagent.sock";
const PLAIN: &str = "-2Frun-2Fagent.sock";

/// Feeds `chunks`; what came out, and the end if there was one.
fn walk<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Result<(), FrameError>) {
    let mut walker = FrameWalker::new();
    let mut out = Vec::new();
    for chunk in chunks {
        if let Err(error) = walker.feed(chunk, &mut out) {
            return (out, Err(error));
        }
    }
    (out, Ok(()))
}

fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
    [&PREFACE[..], &frames.concat()].concat()
}

fn assert_ends(frames: &[Vec<u8>], error: FrameError) {
    let bytes = stream(frames);
    let (out, end) = walk(bytes.chunks(1));
    assert_eq!(end, Err(error));
    assert_eq!(out, bytes[..out.len()], "what shows the fault is passed on unchanged");
    let mut walker = FrameWalker::new();
    let mut out = Vec::new();
    assert_eq!(walker.feed(&bytes, &mut out), Err(error));
    let length = out.len();
    assert_eq!(walker.feed(b"more", &mut out), Err(error), "the end stays the end");
    assert_eq!(out.len(), length, "nothing passes after it");
}

/// One header block and the frames that carry it.
#[derive(Clone, Debug)]
struct Request {
    huffman: bool,
    by_index: bool,
    padding: Option<u8>,
    priority: bool,
    /// Where the block is cut into CONTINUATIONs, in per mille of its length.
    cuts: Vec<usize>,
    data: Vec<u8>,
}

impl Request {
    fn frames(&self, authority: &str) -> Vec<u8> {
        let field = if self.by_index {
            literal_by_index(INDEXED, 1, authority, self.huffman)
        } else {
            literal(NOT_INDEXED, ":authority", authority, self.huffman)
        };
        let block = [vec![0x83, 0x86], literal_by_index(INDEXED, 4, "/a%2F/b", self.huffman), field].concat();
        let mut cuts: Vec<usize> = self.cuts.iter().map(|cut| cut * block.len() / 1000).collect();
        cuts.sort_unstable();
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([block.len()]);
        let mut frames = Vec::new();
        for (number, (start, end)) in starts.zip(ends).enumerate() {
            let last = if number == self.cuts.len() { END_HEADERS } else { 0 };
            let part = &block[start..end];
            frames.extend(if number == 0 { self.headers(last, part) } else { frame(CONTINUATION, last, 1, part) });
        }
        frames.extend(frame(DATA, END_STREAM, 1, &self.data));
        frames
    }

    fn headers(&self, last: u8, part: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        payload.extend(self.padding);
        payload.extend(if self.priority { &b"\x80%/%/"[..] } else { b"" });
        payload.extend(part);
        payload.extend(std::iter::repeat_n(b'%', usize::from(self.padding.unwrap_or(0))));
        let padded = if self.padding.is_some() { PADDED } else { 0 };
        let priority = if self.priority { PRIORITY } else { 0 };
        frame(HEADERS, last | padded | priority, 1, &payload)
    }
}

fn any_request() -> impl Strategy<Value = Request> {
    let cuts = prop::collection::vec(0..1000_usize, 0..6);
    let data = prop::collection::vec(any::<u8>(), 0..40);
    let padding = prop::option::of(any::<u8>());
    (any::<bool>(), any::<bool>(), padding, any::<bool>(), cuts, data).prop_map(
        |(huffman, by_index, padding, priority, cuts, data)| Request {
            huffman,
            by_index,
            padding,
            priority,
            cuts,
            data,
        },
    )
}

proptest! {
    #[test]
    fn only_the_authority_changes_however_the_bytes_are_cut(
        requests in prop::collection::vec(any_request(), 1..4),
        cuts in prop::collection::vec(1..60_usize, 1..20),
    ) {
        let frames = |authority| stream(&requests.iter().map(|request| request.frames(authority)).collect::<Vec<_>>());
        let (sent, expected) = (frames(SOCKET), frames(PLAIN));
        prop_assert_eq!(walk([&sent[..]]), (expected.clone(), Ok(())), "in one piece");
        prop_assert_eq!(walk(sent.chunks(1)), (expected.clone(), Ok(())), "byte by byte");
        let mut rest = &sent[..];
        let pieces = cuts.iter().cycle().map_while(|size| {
            let (piece, after) = rest.split_at_checked((*size).min(rest.len()))?;
            rest = after;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(walk(pieces), (expected, Ok(())), "in pieces");
    }

    #[test]
    fn any_bytes_are_walked_without_growing(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let sent = stream(&[bytes]);
        let whole = walk([&sent[..]]);
        prop_assert!(whole.0.len() <= sent.len());
        let in_bytes = walk(sent.chunks(1));
        prop_assert_eq!(whole, in_bytes);
    }

    #[test]
    fn likely_frames_are_walked_alike_in_any_cut(
        frames in prop::collection::vec((0..10_u8, any::<u8>(), 0..3_u32, prop::collection::vec(any::<u8>(), 0..20)), 0..12),
    ) {
        let sent = stream(&frames.iter().map(|(kind, flags, id, payload)| frame(*kind, *flags, *id, payload)).collect::<Vec<_>>());
        prop_assert_eq!(walk([&sent[..]]), walk(sent.chunks(1)));
    }
}

#[test]
fn header_blocks_wait_for_their_end_and_nothing_else_waits() {
    let mut walker = FrameWalker::new();
    let mut out = Vec::new();
    let mut feed = |bytes: &[u8]| {
        out.clear();
        walker.feed(bytes, &mut out).unwrap();
        out.clone()
    };
    assert_eq!(feed(&PREFACE[..10]), &PREFACE[..10]);
    assert_eq!(feed(&PREFACE[10..]), &PREFACE[10..]);
    let data = frame(DATA, 0, 1, b"half of it");
    assert_eq!(feed(&data[..12]), &data[..12], "payload goes on at once");
    assert_eq!(feed(&data[12..]), &data[12..]);
    let block = literal_by_index(INDEXED, 1, SOCKET, false);
    let headers = frame(HEADERS, 0, 3, &block[..5]);
    let continuation = frame(CONTINUATION, END_HEADERS, 3, &block[5..]);
    assert_eq!(feed(&headers), b"");
    assert_eq!(feed(&continuation[..continuation.len() - 1]), b"");
    assert_eq!(feed(&continuation[continuation.len() - 1..]).len(), headers.len() + continuation.len());
}

#[test]
fn another_preface_ends_the_walk_at_its_first_wrong_byte() {
    for (other, passed) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], 1), (b"PRI * HTTP/1.1\r\n\r\n", 12)] {
        for pieces in [vec![other], other.chunks(1).collect()] {
            assert_eq!(walk(pieces), (other[..passed].to_vec(), Err(FrameError::Preface)));
        }
    }
}

#[test]
fn a_frame_that_is_too_long_ends_the_walk_at_its_header() {
    let fits = frame(DATA, 0, 1, &vec![0; MAX_PAYLOAD]);
    let (out, end) = walk([stream(&[fits]).as_slice()]);
    assert_eq!((out.len(), end), (PREFACE.len() + FRAME_HEADER + MAX_PAYLOAD, Ok(())));
    assert_ends(&[frame(DATA, 0, 1, &vec![0; MAX_PAYLOAD + 1])], FrameError::FrameTooLong);
}

#[test]
fn frames_out_of_place_end_the_walk() {
    let open = frame(HEADERS, 0, 1, b"\x83");
    assert_ends(&[frame(CONTINUATION, END_HEADERS, 1, b"\x83")], FrameError::OutOfPlace);
    assert_ends(&[open.clone(), frame(PING, 0, 0, &[0; 8])], FrameError::OutOfPlace);
    assert_ends(&[open.clone(), frame(HEADERS, END_HEADERS, 3, b"\x83")], FrameError::OutOfPlace);
    assert_ends(&[open, frame(CONTINUATION, END_HEADERS, 3, b"\x83")], FrameError::OutOfPlace);
}

#[test]
fn padding_past_the_frame_ends_the_walk() {
    assert_ends(&[frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05\x83")], FrameError::Padding);
    assert_ends(&[frame(HEADERS, END_HEADERS | PADDED, 1, b"")], FrameError::Padding);
    assert_ends(&[frame(HEADERS, END_HEADERS | PRIORITY, 1, b"1234")], FrameError::Padding);
}

#[test]
fn a_flood_of_continuations_ends_the_walk() {
    let mut frames = vec![frame(HEADERS, 0, 1, b"")];
    frames.extend(std::iter::repeat_n(frame(CONTINUATION, 0, 1, b""), MAX_BLOCK_FRAMES));
    assert_ends(&frames, FrameError::BlockTooLong);
    let mut frames = vec![frame(HEADERS, 0, 1, &vec![0; MAX_PAYLOAD])];
    frames.extend(std::iter::repeat_n(frame(CONTINUATION, 0, 1, &vec![0; MAX_PAYLOAD]), 3));
    assert_ends(&frames, FrameError::BlockTooLong);
}
