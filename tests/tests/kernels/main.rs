//! The proof of the caller on other kernels than this machine's: each boots in an emulated machine,
//! where suites of this crate run as root against the agent, and what they say is read here.
//!
//! `tests/kernels/fetch` gets the kernels; `docs/kernels.md` tells what each of them lacks.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod image;
mod machine;

use std::io::Write;
use std::path::Path;

use countersign_tests::skip;

/// What runs on each kernel, by suite and full name: a way of each attack that no compiler and no
/// second user database is needed for, most of them also with the protection taken out.
const PLAN: [(&str, &[&str]); 2] = [
    ("proof", &["a_request_that_comes_with_the_preface_is_answered", "a_client_that_answers_late_is_answered_then"]),
    (
        "attacks",
        &[
            "posing::p1_a_connection_of_a_process_that_is_gone_is_not_its_pids_next_owners",
            "reuse::p1_a_pid_that_is_given_again_before_accept_is_not_its_next_owners",
            "reuse::p1_works_before_accept_without_the_sender_where_the_kernel_holds_no_peer",
            "speaking::p2_exec_over_the_connection_is_refused",
            "speaking::p2_who_does_not_answer_for_the_program_is_refused",
            "speaking::p2_works_without_the_countersign",
            "posing::p3_a_set_uid_program_on_an_open_connection_is_not_its_owner",
            "speaking::p4_a_passed_descriptor_is_nobody_elses_to_speak_on",
            "speaking::p5_a_child_does_not_speak_for_its_parent",
            "speaking::p5_works_without_the_sender",
            "posing::p6_a_request_on_an_open_connection_is_the_running_programs",
            "posing::p7_a_stream_ends_with_the_process_that_opened_it",
            "posing::p8_a_path_in_a_mount_namespace_of_ones_own_is_not_that_path",
        ],
    ),
];

/// The oldest that the agent supports: it has no pidfd of a peer, nor RESOLVE_CACHED of openat2(2).
#[test]
fn the_proof_holds_on_linux_5_10() {
    holds_on("5.10");
}

/// No pidfd of a peer either.
#[test]
fn the_proof_holds_on_linux_6_1() {
    holds_on("6.1");
}

/// A pidfd of a peer, but no PIDFD_GET_INFO.
#[test]
fn the_proof_holds_on_linux_6_12() {
    holds_on("6.12");
}

fn holds_on(version: &str) {
    if let Err(missing) = machine::is_possible() {
        return skip(&missing);
    }
    let kernels = std::env::var_os("KERNELS_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernels"),
        |directory| Path::new(&directory).to_owned(),
    );
    let kernel = kernels.join(version).join("vmlinuz");
    if !kernel.exists() {
        return skip(&format!("needs the kernel {}, which tests/kernels/fetch gets", kernel.display()));
    }
    let said = machine::run(&kernel, image::made());
    let release = after(&said, "kernel: ").unwrap_or_else(|| panic!("it did not begin:\n{said}"));
    assert!(release.starts_with(&format!("{version}.")), "not Linux {version}: {release}");
    for (suite, tests) in PLAN {
        let passed = format!("test result: ok. {} passed; 0 failed;", tests.len());
        let all = said.contains(&passed) && said.contains(&format!("ended: {suite} 0"));
        assert!(all, "{suite} on Linux {release}:\n{said}");
    }
    // Past the capture of tests that pass: which kernel it was is to be read in every run.
    let tests: usize = PLAN.iter().map(|(_, tests)| tests.len()).sum();
    writeln!(std::io::stdout(), "{tests} tests passed on Linux {release}").expect("standard output is open");
    println!("{said}");
}

/// The rest of the first line that begins so.
fn after<'a>(said: &'a str, begins: &str) -> Option<&'a str> {
    said.lines().find_map(|line| line.strip_prefix(begins)).map(str::trim_end)
}
