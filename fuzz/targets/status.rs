//! `/proc/PID/status`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign_agent::fuzzing::status(bytes));
