//! A client's bytes, walked frame by frame.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign_agent::fuzzing::frames(bytes));
