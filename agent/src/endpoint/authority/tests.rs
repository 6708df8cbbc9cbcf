//! Header blocks with the authority in every form that HPACK has for it.

use proptest::prelude::*;

use super::super::test_encoder::{INDEXED, NEVER_INDEXED, NOT_INDEXED, grpc_core_block, literal, literal_by_index};
use super::make_plain;

const SOCKET: &str = "%2Frun%2Fcountersign%2Fagent.sock";
const PLAIN: &str = "-2Frun-2Fcountersign-2Fagent.sock";

fn plain(mut block: Vec<u8>) -> Vec<u8> {
    make_plain(&mut block);
    block
}

#[test]
fn the_authority_of_grpc_core_is_made_plain() {
    let path = "/SpiffeWorkloadAPI/FetchJWTSVID";
    assert_eq!(plain(grpc_core_block(SOCKET, path)), grpc_core_block(PLAIN, path));
}

#[test]
fn every_way_to_write_the_authority_is_known() {
    for kind in [INDEXED, NOT_INDEXED, NEVER_INDEXED] {
        for is_huffman in [false, true] {
            let by_name = |value| literal(kind, ":authority", value, is_huffman);
            assert_eq!(plain(by_name(SOCKET)), by_name(PLAIN), "{kind:?} {is_huffman}");
            let by_index = |value| literal_by_index(kind, 1, value, is_huffman);
            assert_eq!(plain(by_index("/run/agent.sock")), by_index("-run-agent.sock"), "{kind:?} {is_huffman}");
        }
    }
}

#[test]
fn what_grpc_core_leaves_of_a_path_is_made_plain() {
    let block = |value: &str| literal(INDEXED, ":authority", value, false);
    assert_eq!(plain(block("run%2Fa:b:c%2F]x[@%2Fs")), block("run-2Fa-b-c-2F-x---2Fs"));
    assert_eq!(plain(block("a!$&'()*+,;=~_b")), block("a!$&'()*+,;=~_b"), "a host name may have these");
}

#[test]
fn a_long_authority_is_made_plain() {
    let block = |value: &str| literal(INDEXED, ":authority", &value.repeat(20), false);
    assert_eq!(plain(block(SOCKET)), block(PLAIN));
}

#[test]
fn other_fields_stay_as_they_are() {
    let block = [
        vec![0x83, 0x3f, 0xe1, 0x1f],
        literal_by_index(INDEXED, 4, "/SpiffeWorkloadAPI/FetchJWTSVID", true),
        literal(NOT_INDEXED, ":authorities", SOCKET, false),
        literal(NOT_INDEXED, "authority", SOCKET, true),
        literal(NEVER_INDEXED, "x-path", "100%/a", false),
    ]
    .concat();
    assert_eq!(plain(block.clone()), block);
}

#[test]
fn a_block_that_is_not_hpack_stays_as_it_is() {
    let whole = literal(INDEXED, ":authority", SOCKET, false);
    for broken in [
        whole[..whole.len() - 1].to_vec(),
        [whole.clone(), vec![0x41, 0x7f]].concat(),
        [whole.clone(), vec![0x40, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat(),
    ] {
        assert_eq!(plain(broken.clone()), broken);
    }
}

#[test]
fn two_authorities_stay_as_they_are() {
    let twice = [literal(INDEXED, ":authority", SOCKET, false), literal_by_index(INDEXED, 1, SOCKET, true)].concat();
    assert_eq!(plain(twice.clone()), twice, "the server refuses the request");
}

proptest! {
    #[test]
    fn any_block_keeps_its_length_and_is_done_at_once(block in prop::collection::vec(any::<u8>(), 0..400)) {
        let once = plain(block.clone());
        prop_assert_eq!(once.len(), block.len());
        prop_assert_eq!(plain(once.clone()), once);
    }
}
