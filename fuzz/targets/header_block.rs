//! A client's header block, and the authority in it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign_agent::fuzzing::header_block(bytes));
