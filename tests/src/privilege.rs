//! Tests that need privilege.

/// Whether the test may run: it needs `what`, which takes root. Without it a developer's
/// machine skips the test with a word; CI fails, since there a skipped proof is no proof.
pub fn root_or_skip(what: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "this test needs root for {what}; CI must give it");
    eprintln!("skipped: needs root for {what}");
    false
}
