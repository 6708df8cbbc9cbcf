//! The code against RFC 7541 and against the encoder of the tests.

use proptest::prelude::*;

use super::super::test_encoder::huffman;
use super::*;

#[test]
fn the_code_is_complete() {
    assert_eq!(CODES_OF_LENGTH.iter().sum::<u32>(), 257, "256 symbols and the end of the string");
    let space: u64 = (0..).zip(CODES_OF_LENGTH).map(|(bits, count)| u64::from(count) << (30 - bits)).sum();
    assert_eq!(space, 1 << 30, "no code is missing and none is a prefix of another");
}

/// RFC 7541, appendix C.4 and C.6.
#[test]
fn the_examples_of_the_rfc_are_walked_to_their_end() {
    for (encoded, text) in [
        ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
        ("a8eb10649cbf", "no-cache"),
        ("25a849e95ba97d7f", "custom-key"),
        ("25a849e95bb8e8b4bf", "custom-value"),
        ("aec3771a4b", "private"),
        ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
        (
            "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
    ] {
        let mut bytes = hex(encoded);
        assert_eq!(huffman(text), bytes, "the encoder of the tests, for {text}");
        assert_eq!(replace_marks(&mut bytes), Some(text.len()), "{text}");
        assert_eq!(bytes, huffman(&text.replace('/', "-")), "{text}");
    }
}

#[test]
fn the_name_of_the_authority_is_known_by_its_code() {
    assert_eq!(huffman(":authority"), AUTHORITY);
}

#[test]
fn a_text_that_is_cut_or_badly_padded_is_noticed() {
    let mut cut = huffman("%2Fsock")[..2].to_vec();
    cut.push(0);
    assert_eq!(replace_marks(&mut cut.clone()), None, "zeros are no padding");
    assert_eq!(replace_marks(&mut [0xff, 0xff]), None, "padding of more than 7 bits");
    assert_eq!(replace_marks(&mut []), Some(0));
}

proptest! {
    #[test]
    fn marks_are_replaced_where_they_are(text in "[%/.a-zA-WYZ0-9:_-]{0,200}") {
        let mut bytes = huffman(&text);
        prop_assert_eq!(replace_marks(&mut bytes), Some(text.len()));
        prop_assert_eq!(bytes, huffman(&text.replace(['%', '/'], "-")));
    }

    #[test]
    fn any_bytes_keep_their_number_of_symbols(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let before = replace_marks(&mut bytes);
        let once = bytes.clone();
        prop_assert_eq!(replace_marks(&mut bytes), before);
        prop_assert_eq!(bytes, once, "nothing is left to replace");
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
