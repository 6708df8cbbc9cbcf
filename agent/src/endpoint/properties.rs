//! What holds for any bytes of a client, at every cut.

use super::authority;
use super::frames::{FRAME_HEADER, FrameError, FrameWalker, PREFACE};
use super::header_block::MAX_BLOCK;
use super::hpack::{Field, Fields, Malformed, Name};
use super::huffman;
use crate::peer::Challenge;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;

/// What came of a walk.
#[derive(Clone, Debug, PartialEq)]
struct Walked {
    out: Vec<u8>,
    end: Result<(), FrameError>,
    /// To PINGs.
    answers: Vec<Challenge>,
}

/// A walk over the frames in `bytes`, and over `bytes` as a whole connection: every byte comes
/// out or is held, only header blocks change, and neither the cut nor a second walk matters.
///
/// # Panics
/// Something of that does not hold.
pub fn frames(bytes: &[u8]) {
    connection(bytes);
    connection(&[PREFACE, bytes].concat());
}

fn connection(sent: &[u8]) {
    let walked = walk([sent], sent.len());
    assert_eq!(walk(sent.chunks(1), sent.len()), walked, "byte by byte");
    // Pieces whose sizes the input chooses.
    let mut rest = sent;
    let mut pieces = vec![];
    for size in sent.iter().rev().map(|byte| usize::from(*byte) % 61 + 1) {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(walk(pieces, sent.len()), walked, "in pieces");
    assert_eq!(walk([&walked.out[..]], walked.out.len()), walked, "what came out goes through as it is");
    if sent.starts_with(PREFACE) {
        only_header_blocks_change(sent, &walked.out);
    } else {
        assert!(sent.starts_with(&walked.out));
    }
    // No answer is made up of bytes that were not passed on.
    assert!(walked.answers.iter().all(|answer| walked.out.windows(answer.len()).any(|bytes| bytes == answer)));
}

/// Walks over the pieces of `length` bytes. What is held back is bounded, and nothing is lost.
fn walk<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, length: usize) -> Walked {
    let mut walker = FrameWalker::new();
    let mut walked = Walked { out: Vec::new(), end: Ok(()), answers: Vec::new() };
    for piece in pieces {
        walked.end = walker.feed(piece, &mut walked.out);
        walked.answers.extend(walker.answers());
        assert!(walker.held() < MAX_BLOCK + FRAME_HEADER, "{} bytes are held", walker.held());
        if walked.end.is_err() {
            assert!(walked.out.len() <= length && walker.held() == 0);
            let passed = walked.out.len();
            assert_eq!((walker.feed(b"more", &mut walked.out), walked.out.len()), (walked.end, passed));
            return walked;
        }
    }
    assert_eq!(walked.out.len() + walker.held(), length);
    walked
}

/// Reads frames by their lengths alone, on its own.
fn only_header_blocks_change(sent: &[u8], out: &[u8]) {
    let mut at = PREFACE.len();
    while let Some(header) = sent.get(at..at + FRAME_HEADER).filter(|_| at < out.len()) {
        let length = header[..3].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let end = out.len().min(at + FRAME_HEADER + length);
        let same_until = if matches!(header[3], HEADERS | CONTINUATION) { at + FRAME_HEADER } else { end };
        assert_eq!(sent.get(at..same_until), out.get(at..same_until), "the frame at {at}");
        at += FRAME_HEADER + length;
    }
}

/// `bytes` as a header block: only the one authority that is written out changes, to as many
/// characters that a host name has, and every field stays where it is.
///
/// # Panics
/// Something of that does not hold.
pub fn header_block(bytes: &[u8]) {
    let mut plain = bytes.to_vec();
    authority::make_plain(&mut plain);
    assert_eq!(fields(&plain), fields(bytes));
    let mut again = plain.clone();
    authority::make_plain(&mut again);
    assert_eq!(again, plain, "a second time changes nothing");

    let mut authorities = fields(bytes).into_iter().filter_map(|field| match field {
        Ok(Field::Literal { name: Name::Index(1), value }) => Some(value),
        Ok(Field::Literal { name: Name::Literal(name), value }) => {
            let text = bytes.get(name.bytes)?;
            let expected = if name.huffman { &huffman::AUTHORITY[..] } else { b":authority" };
            (text == expected).then_some(value)
        }
        _ => None,
    });
    let (first, second) = (authorities.next(), authorities.next());
    let is_hpack = !fields(bytes).contains(&Err(Malformed));
    let Some(value) = first.filter(|_| second.is_none() && is_hpack) else {
        assert_eq!(plain, bytes, "nothing to change");
        return;
    };
    assert_eq!(plain[..value.bytes.start], bytes[..value.bytes.start]);
    assert_eq!(plain[value.bytes.end..], bytes[value.bytes.end..]);
    let (was, mut is) = (bytes[value.bytes.clone()].to_vec(), plain[value.bytes].to_vec());
    if value.huffman {
        // As many symbols, and of the same lengths: a walk over either ends alike.
        assert_eq!(huffman::replace_marks(&mut is), huffman::replace_marks(&mut was.clone()));
    } else {
        assert!(!is.iter().any(|byte| b"%/:@[]".contains(byte)));
        assert!(was.iter().zip(&is).all(|(was, is)| was == is || *is == b'-'));
    }
}

fn fields(block: &[u8]) -> Vec<Result<Field, Malformed>> {
    Fields::of(block).collect()
}
