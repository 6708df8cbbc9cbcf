//! An encoder of HTTP/2 frames and HPACK for the tests of this room: independent of the code
//! under test, and able to write what no library would.

/// The symbols of each code length up to 8 bits, in the order of their codes (RFC 7541,
/// appendix B): all that names, paths and hosts are made of.
const SYMBOLS: [(u32, &str); 4] =
    [(5, "012aceiost"), (6, " %-./3456789=A_bdfghlmnpru"), (7, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"), (8, "&*,;XZ")];

pub(super) const HEADERS: u8 = 0x1;
pub(super) const DATA: u8 = 0x0;
pub(super) const PING: u8 = 0x6;
pub(super) const CONTINUATION: u8 = 0x9;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// Huffman-encodes a text; panics at a symbol with a code longer than 8 bits.
pub(super) fn huffman(text: &str) -> Vec<u8> {
    let mut bits = String::new();
    for symbol in text.chars() {
        let (code, length) = code_of(symbol);
        bits += &format!("{code:0length$b}");
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    bits.as_bytes().chunks(8).map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap()).collect()
}

fn code_of(symbol: char) -> (u32, usize) {
    let mut code = 0;
    for (length, symbols) in SYMBOLS {
        code <<= if length == 5 { 0 } else { 1 };
        for candidate in symbols.chars() {
            if candidate == symbol {
                return (code, length as usize);
            }
            code += 1;
        }
    }
    panic!("no short code for {symbol:?}");
}

/// An integer behind the bits of `first` (RFC 7541, section 5.1).
pub(super) fn integer(first: u8, prefix_bits: u32, value: usize) -> Vec<u8> {
    let most = (1 << prefix_bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let mut encoded = vec![first | u8::try_from(most).unwrap()];
    let mut rest = value - most;
    while rest >= 0x80 {
        encoded.push(u8::try_from(rest % 0x80).unwrap() | 0x80);
        rest /= 0x80;
    }
    encoded.push(u8::try_from(rest).unwrap());
    encoded
}

pub(super) fn string(text: &str, is_huffman: bool) -> Vec<u8> {
    let bytes = if is_huffman { huffman(text) } else { text.as_bytes().to_vec() };
    let mut encoded = integer(if is_huffman { 0x80 } else { 0 }, 7, bytes.len());
    encoded.extend(bytes);
    encoded
}

/// How a literal is kept in the dynamic table: first bits and prefix length.
pub(super) const INDEXED: (u8, u32) = (0x40, 6);
pub(super) const NOT_INDEXED: (u8, u32) = (0x00, 4);
pub(super) const NEVER_INDEXED: (u8, u32) = (0x10, 4);

/// A literal with its name written out.
pub(super) fn literal(kind: (u8, u32), name: &str, value: &str, is_huffman: bool) -> Vec<u8> {
    [integer(kind.0, kind.1, 0), string(name, is_huffman), string(value, is_huffman)].concat()
}

/// A literal with its name by index.
pub(super) fn literal_by_index(kind: (u8, u32), index: usize, value: &str, is_huffman: bool) -> Vec<u8> {
    [integer(kind.0, kind.1, index), string(value, is_huffman)].concat()
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A HEADERS block as gRPC core writes it: every name written out raw, the authority too.
pub(super) fn grpc_core_block(authority: &str, path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
    for (name, value) in [
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-python/1.85.1"),
    ] {
        block.extend(literal(INDEXED, name, value, false));
    }
    block
}
