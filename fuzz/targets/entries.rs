//! A file of registration entries.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign_agent::fuzzing::entries(bytes));
