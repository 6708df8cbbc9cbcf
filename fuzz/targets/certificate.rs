//! An X.509 certificate, and a chain of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign_agent::fuzzing::certificate(bytes));
