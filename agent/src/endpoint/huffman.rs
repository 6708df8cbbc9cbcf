//! HPACK's Huffman code, only as far as walking over encoded text needs it.
//!
//! The code (RFC 7541, appendix B) is canonical: codes of one length are consecutive
//! numbers, and each length goes on where the shorter one ended. So the number of codes of
//! each length is enough to find where every symbol starts and ends, and a symbol can be
//! replaced by another of the same length without moving a bit.

/// How many codes have a length of `index` bits, the end-of-string code included.
pub(super) const CODES_OF_LENGTH: [u32; 31] =
    [0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];

/// `:authority`, encoded. The encoding of a text is unique, so names compare by their bytes.
pub(super) const AUTHORITY: [u8; 8] = [0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// Length in bits of the codes of `%`, `-` and `/`.
const MARK_BITS: u32 = 6;
const PERCENT: u32 = 0x15;
const HYPHEN: u32 = 0x16;
const SLASH: u32 = 0x18;

/// Replaces `%` and `/` by `-` in an encoded text and returns how many symbols it has.
/// `None`: the text breaks off inside a symbol; what was replaced before stays replaced.
pub(super) fn replace_marks(text: &mut [u8]) -> Option<usize> {
    let end = text.len() * 8;
    let mut start = 0;
    let mut symbols = 0;
    while let Some((code, bits)) = symbol_at(text, start) {
        if bits == MARK_BITS && (code == PERCENT || code == SLASH) {
            // `^` of two codes of one length: the bits that differ.
            flip(text, start, code ^ HYPHEN);
        }
        start += bits as usize;
        symbols += 1;
    }
    (end - start < 8 && all_ones(text, start)).then_some(symbols)
}

/// The code that starts at bit `start` and its length; `None` if the text ends before it does.
fn symbol_at(text: &[u8], start: usize) -> Option<(u32, u32)> {
    let mut code = 0;
    let mut first_of_length = 0;
    for (bits, count) in (0..).zip(CODES_OF_LENGTH) {
        if bits > 0 {
            code = code << 1 | bit(text, start + bits as usize - 1)?;
        }
        if code.wrapping_sub(first_of_length) < count {
            return Some((code, bits));
        }
        first_of_length = (first_of_length + count) << 1;
    }
    None
}

fn bit(text: &[u8], position: usize) -> Option<u32> {
    text.get(position / 8).map(|byte| u32::from(byte >> (7 - position % 8) & 1))
}

fn flip(text: &mut [u8], start: usize, mask: u32) {
    for offset in 0..MARK_BITS as usize {
        if mask >> (MARK_BITS as usize - 1 - offset) & 1 == 1
            && let Some(byte) = text.get_mut((start + offset) / 8)
        {
            *byte ^= 0x80 >> ((start + offset) % 8);
        }
    }
}

/// Whether the rest is padding: the first bits of the end-of-string code, which is all ones.
fn all_ones(text: &[u8], start: usize) -> bool {
    (start..text.len() * 8).all(|position| bit(text, position) == Some(1))
}

#[cfg(test)]
mod tests;
