//! Tests that need more than every machine has.

use std::io::Write;

/// Whether the test may run: it needs `what`, which takes root.
pub fn root_or_skip(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(&format!("needs root for {what}"));
    }
    root
}

/// The line by which an entry is content with the suites' own programs. As root there is none: root
/// owns them. Anybody else runs what it has built itself.
pub fn allow_own_programs() -> &'static str {
    if nix::unistd::geteuid().is_root() { "" } else { "allow: [writable_executable, foreign_code]\n" }
}

/// Says that the running test is skipped, and why. CI fails instead, since there a skipped
/// proof is no proof.
///
/// # Panics
/// The environment has `CI`.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "this test {why}; CI must give it");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Past the test harness, which keeps to itself what `eprintln!` says in a test that passes.
    // Without standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "skipped: {test} {why}");
}
