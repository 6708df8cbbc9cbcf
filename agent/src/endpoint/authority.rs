//! Makes `:authority` acceptable to a strict HTTP/2 server without moving a byte.
//!
//! gRPC core (Python, C++, Ruby, PHP) names the authority of a Unix socket by its
//! percent-encoded path, others by the path itself. A strict parser of RFC 3986 takes
//! neither, and the call would end before any service sees it. Nothing here depends on the
//! authority of a request: the socket says which server is meant, the kernel says who asks.
//! So `%` and `/` become `-`, which has the same length raw and in Huffman code. Because the
//! length stays, sizes in the dynamic table stay as the client counts them.
//!
//! gRPC core leaves `:`, `@`, `[` and `]` of a path as they are, where a parser takes them for
//! a port, a user or an address. They become `-` too, in a raw value only: gRPC core writes no
//! other, and in Huffman code `-` is shorter than they are.
//!
//! A name given by an index behind the static table is left alone: encoders look a name up
//! in the static table first, and `:authority` is its first entry.

use super::hpack::{Field, Fields, Malformed, Name, STATIC_AUTHORITY, Text};
use super::huffman;

const NAME: &[u8] = b":authority";

/// Replaces the characters of a path that a host name does not have by `-`, in the written-out
/// value of `:authority` in a complete header block. A block that is not HPACK, or has two such
/// values, stays as it is: the server behind refuses it.
pub(super) fn make_plain(block: &mut [u8]) {
    let Ok(Some(value)) = only_authority(block) else { return };
    let Some(bytes) = block.get_mut(value.bytes) else { return };
    if value.huffman {
        huffman::replace_marks(bytes);
    } else {
        bytes.iter_mut().filter(|byte| b"%/:@[]".contains(byte)).for_each(|byte| *byte = b'-');
    }
}

fn only_authority(block: &[u8]) -> Result<Option<Text>, Malformed> {
    let mut found = None;
    for field in Fields::of(block) {
        if let Field::Literal { name, value } = field?
            && is_authority(block, &name)
            && found.replace(value).is_some()
        {
            return Err(Malformed);
        }
    }
    Ok(found)
}

fn is_authority(block: &[u8], name: &Name) -> bool {
    match name {
        Name::Index(index) => *index == STATIC_AUTHORITY,
        Name::Literal(text) => {
            let expected = if text.huffman { &huffman::AUTHORITY[..] } else { NAME };
            block.get(text.bytes.clone()) == Some(expected)
        }
    }
}

#[cfg(test)]
mod tests;
