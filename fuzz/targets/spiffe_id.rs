//! A SPIFFE ID, and the name of a trust domain.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign_agent::fuzzing::spiffe_id(bytes));
