//! The fields of an HPACK header block, as positions in its bytes (RFC 7541, section 6).
//!
//! Nothing is decoded and no table is kept: the walk only tells one field from the next.

use std::ops::Range;

/// The index of `:authority` in the static table (RFC 7541, appendix A).
pub(super) const STATIC_AUTHORITY: usize = 1;

/// Integers above this are refused: no string and no table of ours comes near.
const MAX_INTEGER: usize = 1 << 24;

/// A string literal: where its bytes are, and whether they are Huffman codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) bytes: Range<usize>,
    pub(super) huffman: bool,
}

/// The name of a literal field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// Index into the static table, or behind it into the dynamic table.
    Index(usize),
    /// Written out.
    Literal(Text),
}

/// One representation in a header block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Name and value by index, or a change of the table's size: no text in it.
    NoText,
    /// A value that is written out, with its name.
    Literal { name: Name, value: Text },
}

/// The block is not HPACK, or uses integers past every bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Goes over the fields of a block from first to last; ends after the first malformed one.
pub(super) struct Fields<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(block: &'a [u8]) -> Self {
        Self { block, at: 0 }
    }

    fn field(&mut self, first: u8) -> Result<Field, Malformed> {
        let prefix_bits = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let index = self.integer(prefix_bits)?;
        if first & 0x80 != 0 || first & 0xe0 == 0x20 {
            return Ok(Field::NoText);
        }
        let name = if index == 0 { Name::Literal(self.text()?) } else { Name::Index(index) };
        Ok(Field::Literal { name, value: self.text()? })
    }

    /// RFC 7541, section 5.2.
    fn text(&mut self) -> Result<Text, Malformed> {
        let huffman = self.block.get(self.at).ok_or(Malformed)? & 0x80 != 0;
        let length = self.integer(7)?;
        let end = self.at + length;
        if end > self.block.len() {
            return Err(Malformed);
        }
        let bytes = self.at..end;
        self.at = end;
        Ok(Text { bytes, huffman })
    }

    /// RFC 7541, section 5.1.
    fn integer(&mut self, prefix_bits: u32) -> Result<usize, Malformed> {
        let mask = (1 << prefix_bits) - 1;
        let mut value = usize::from(self.next_byte()?) & mask;
        if value < mask {
            return Ok(value);
        }
        // Four bytes of seven bits reach past every bound that the frames around have.
        for shift in [0, 7, 14, 21] {
            let byte = self.next_byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if value > MAX_INTEGER { Err(Malformed) } else { Ok(value) };
            }
        }
        Err(Malformed)
    }

    fn next_byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.block.get(self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok(byte)
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = *self.block.get(self.at)?;
        let field = self.field(first);
        if field.is_err() {
            self.at = self.block.len();
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_of_rfc_7541_appendix_c_1() {
        let integer = |bytes: &[u8], bits| Fields::of(bytes).integer(bits);
        assert_eq!(integer(&[0b1110_1010], 5), Ok(10));
        assert_eq!(integer(&[0b0001_1111, 0b1001_1010, 0b0000_1010], 5), Ok(1337));
        assert_eq!(integer(&[0b0010_1010], 8), Ok(42));
    }

    #[test]
    fn integers_without_end_are_refused() {
        assert_eq!(Fields::of(&[0xff; 100]).integer(7), Err(Malformed));
        assert_eq!(Fields::of(&[0x7f, 0x80, 0x80, 0x80, 0x7f]).integer(7), Err(Malformed));
        assert_eq!(Fields::of(&[0x7f]).integer(7), Err(Malformed));
    }

    #[test]
    fn every_representation_is_told_apart() {
        let block = [
            0x82, // :method GET, by index
            0x3f, 0xe1, 0x1f, // table size 4096
            0x41, 0x01, b'a', // :authority by static index, indexed
            0x00, 0x01, b'n', 0x81, 0xff, // literal name, Huffman value, not indexed
            0x1f, 0x01, 0x00, // name by index 16, empty value, never indexed
        ];
        let text = |bytes, huffman| Text { bytes, huffman };
        let expected = vec![
            Ok(Field::NoText),
            Ok(Field::NoText),
            Ok(Field::Literal { name: Name::Index(STATIC_AUTHORITY), value: text(6..7, false) }),
            Ok(Field::Literal { name: Name::Literal(text(9..10, false)), value: text(11..12, true) }),
            Ok(Field::Literal { name: Name::Index(16), value: text(15..15, false) }),
        ];
        assert_eq!(Fields::of(&block).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_string_past_the_end_ends_the_walk() {
        assert_eq!(Fields::of(&[0x41, 0x05, b'a']).collect::<Vec<_>>(), vec![Err(Malformed)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_within_bounds(block in prop::collection::vec(any::<u8>(), 0..300)) {
            for field in Fields::of(&block).flatten() {
                if let Field::Literal { value, .. } = field {
                    prop_assert!(block.get(value.bytes).is_some());
                }
            }
        }
    }
}
