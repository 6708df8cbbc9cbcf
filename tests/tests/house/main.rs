//! The rules of the house, held by reading its sources. `CONTRIBUTING.md` says them in words.
//!
//! Each rule is a function from a source to the places that break it; `samples` shows each of
//! them a bad source, so that no rule can pass by being blind.

#![allow(clippy::expect_used, reason = "a test that cannot read its input fails")]

mod attacks;
mod language;
mod manifest;
mod rooms;
mod rules;
mod samples;
mod source;

use source::Source;

/// Fails with every place that breaks `rule`.
fn hold(name: &str, rule: impl Fn(&Source) -> Vec<String>, sources: &[Source]) {
    assert!(!sources.is_empty(), "{name}: nothing was read");
    let broken: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(broken.is_empty(), "{name}:\n  {}", broken.join("\n  "));
}

#[test]
fn rooms_import_rooms_of_lower_rank_only() {
    hold("imports", rooms::imports, &source::rust());
}

#[test]
fn the_table_names_the_rooms_that_there_are() {
    let absent = rooms::missing_and_unknown(&source::rust());
    assert!(absent.is_empty(), "{absent:?}\n{}", rooms::table());
}

#[test]
fn protobuf_types_stop_at_the_rooms_that_speak_on_a_wire() {
    hold("protobuf", rooms::protobuf, &source::rust());
}

#[test]
fn unsafe_code_is_in_one_file() {
    hold("unsafe code", rules::unsafe_code, &source::rust());
}

#[test]
fn every_file_says_what_it_is_for() {
    hold("header", rules::header, &source::rust());
}

#[test]
fn names_say_something() {
    hold("names", rules::names, &source::rust());
}

#[test]
fn files_and_functions_fit_in_the_head() {
    hold("length", rules::length, &source::rust());
}

#[test]
fn tests_neither_rest_nor_sleep() {
    hold("tests", rules::tests_that_rest, &source::rust());
}

#[test]
fn no_state_is_crate_wide() {
    hold("statics", rules::statics, &source::rust());
}

#[test]
fn fields_of_the_log_have_listed_names() {
    let sources = source::rust();
    let listed = rules::listed_fields(&sources);
    assert!(listed.len() > 5, "the list was not found");
    hold("log fields", |source| rules::log_fields(source, &listed), &sources);
}

#[test]
fn each_attack_is_shown_to_fail_and_to_work_without_the_protection() {
    let missing = attacks::missing(&source::rust());
    assert!(
        missing.is_empty(),
        "rows of the threat model without tests in tests/tests/attacks:\n  {}",
        missing.join("\n  ")
    );
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    hold("machine paths", rules::machine_paths, &source::text());
}

#[test]
fn dependencies_are_named_once_with_a_reason() {
    hold("dependencies", manifest::dependencies, &source::manifests());
}
