//! `/proc/self/fdinfo/N`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign_agent::fuzzing::fdinfo(bytes));
