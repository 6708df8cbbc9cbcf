//! The names on a path in the cgroup tree.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign_agent::fuzzing::cgroup_names(bytes));
