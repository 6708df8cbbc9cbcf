//! The agent as it is installed: `tests/systemd/run` boots systemd in a container, installs the unit
//! there and checks what it claims.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::path::Path;
use std::process::Command;

use countersign_tests::{countersign, root_or_skip};

/// How the script says that this machine cannot run it; with `CI` set it fails instead.
const CANNOT_RUN: i32 = 77;

/// Begins the line with the score of `systemd-analyze security`.
const SCORE: &str = "-> Overall exposure level";

#[test]
fn the_installed_agent_holds_what_its_unit_claims() {
    run(&[]);
}

#[test]
fn the_installed_agent_holds_it_with_cgroup_v2_only() {
    run(&["unified"]);
}

fn run(arguments: &[&str]) {
    if !root_or_skip("booting systemd in a container") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/run");
    let ran = Command::new(script).arg(countersign()).args(arguments).output().expect("the script starts");
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if ran.status.code() == Some(CANNOT_RUN) {
        eprintln!("skipped: {complained}");
        return;
    }
    assert!(ran.status.success(), "{said}\n{complained}");
    let score = said.lines().find(|line| line.starts_with(SCORE)).expect("the script tells the score");
    // Past the capture of tests that pass: the score is to be read in every run.
    writeln!(std::io::stdout(), "{score}").expect("standard output is open");
    println!("{said}");
}
