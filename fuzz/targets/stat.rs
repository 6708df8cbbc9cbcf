//! `/proc/PID/stat`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign_agent::fuzzing::stat(bytes));
