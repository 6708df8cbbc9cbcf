//! An attestation that is used again, and what ends it, with real processes.

use std::sync::PoisonError;

use tokio::time::Instant;

use super::*;
use crate::attest::kept::{Kept, LOOK_AGE, MAX_GLANCES, READ_AGE};

/// A process that was attested at an instant, and what is kept of that.
struct Known {
    child: Child,
    /// Keeps the connection.
    _peer: Arc<Peer>,
    kept: Kept,
    attested: Instant,
}

async fn known(role: &str) -> Known {
    let (child, attestors) = (Child::play(role), attestors());
    let peer = child.peer();
    let attestation = attestors.attest(&peer, nothing).await.unwrap();
    let (kept, attested) = (attestors.keep(&attestation).unwrap(), attestation.looked_for_tests());
    let known = Known { child, _peer: peer, kept, attested };
    assert_eq!(known.again(Duration::ZERO), Ok(true), "which takes hold of it for glances");
    known
}

impl Known {
    /// Whether it is known again so long after it was attested, or why it is refused.
    fn again(&self, after: Duration) -> Result<bool, String> {
        self.kept.again(self.attested + after).map(|again| again.is_some()).map_err(|error| error.to_string())
    }
}

fn changed<T>(what: &str) -> Result<T, String> {
    Err(format!("the process changed after it connected: {what}"))
}

#[tokio::test]
async fn the_same_process_is_known_again_for_a_while() {
    let known = known("stay").await;
    let again = known.kept.again(known.attested).unwrap().unwrap();
    assert_eq!(again.instance().pid, known.child.pid());
    assert_eq!(values(&again, SelectorKind::UnixUid), [nix::unistd::geteuid().to_string()]);
    assert_eq!(known.again(LOOK_AGE - Duration::from_millis(1)), Ok(true));
    assert_eq!(known.again(LOOK_AGE), Ok(false));
}

#[tokio::test]
async fn another_program_is_seen_at_a_glance() {
    let mut known = known("exec on go").await;
    known.child.go_on();
    known.child.until(|| std::fs::read_link(known.child.proc("exe")).is_ok_and(|exe| exe.ends_with("sleep")));
    assert_eq!(known.again(Duration::ZERO), changed("executable"));
}

#[tokio::test]
async fn another_instance_of_the_same_program_is_seen_at_a_glance() {
    let mut known = known("exec the same on go").await;
    known.child.go_on();
    known.child.says("ready");
    assert_eq!(known.again(Duration::ZERO), changed("running image"));
}

#[tokio::test]
async fn another_user_is_seen_at_a_glance() {
    if !is_root() {
        return;
    }
    let mut known = known("drop privilege on go").await;
    known.child.go_on();
    known.child.says("dropped");
    assert_eq!(known.again(Duration::ZERO), changed("credentials"));
}

#[tokio::test]
async fn other_groups_are_seen_at_the_next_reading() {
    if !is_root() {
        return;
    }
    let mut known = known("add a group on go").await;
    known.child.go_on();
    known.child.says("added");
    assert_eq!(known.again(READ_AGE), changed("credentials"));
}

#[tokio::test]
async fn the_exit_is_seen_at_a_glance() {
    let mut known = known("stay").await;
    known.child.kill();
    assert_eq!(known.again(Duration::ZERO), Err("the process has exited".to_owned()));
    known.child.reap();
    assert_eq!(known.again(Duration::ZERO), Err("the process has exited".to_owned()));
}

#[tokio::test]
async fn what_was_not_told_is_not_kept() {
    let attestors = attestors_with(1, LATER);
    let peer = Peer::of_this_process();
    let attestation = attestors.attest(&peer, everything).await.unwrap();
    assert!(attestation.unavailable().contains(&SelectorKind::UnixSha256));
    assert!(attestors.keep(&attestation).is_none());
}

#[tokio::test]
async fn as_many_are_held_for_glances_as_there_is_room_and_the_others_are_read() {
    let attestors = attestors();
    let held = || attestors.glances.0.lock().unwrap_or_else(PoisonError::into_inner).len();
    let peer = Peer::of_this_process();
    let attestation = attestors.attest(&peer, nothing).await.unwrap();
    let kept: Vec<_> = (0..=MAX_GLANCES).map(|_| attestors.keep(&attestation).unwrap()).collect();
    let attested = attestation.looked_for_tests();
    for kept in &kept {
        assert!(kept.again(attested).unwrap().is_some());
    }
    assert_eq!(held(), MAX_GLANCES);
    assert!(kept[0].again(attested).unwrap().is_some(), "the one that made room");
    drop(kept);
    assert_eq!(held(), 0);
}

/// What an entry asks for that names a path.
fn by_path(_: &BTreeSet<Selector>, told: &BTreeSet<SelectorKind>) -> BTreeSet<SelectorKind> {
    BTreeSet::from([SelectorKind::UnixPath]).difference(told).copied().collect()
}

#[tokio::test]
async fn what_was_found_out_a_moment_ago_is_not_asked_again_on_the_next_connection() {
    let (child, attestors) = (Child::play("stay"), attestors());
    let image = attestors.attest(&child.peer(), by_path).await.unwrap();
    let again = attestors.attest(&child.peer(), by_path).await.unwrap();
    assert!(Arc::ptr_eq(image.found(), again.found()));
    let other = Child::play("stay");
    let other = attestors.attest(&other.peer(), by_path).await.unwrap();
    assert!(!Arc::ptr_eq(image.found(), other.found()));
}

#[tokio::test]
async fn what_was_not_asked_before_is_asked_on_the_next_connection() {
    let (child, attestors) = (Child::play("stay"), attestors());
    attestors.attest(&child.peer(), nothing).await.unwrap();
    let attestation = attestors.attest(&child.peer(), by_path).await.unwrap();
    assert!(attestation.told().contains(&SelectorKind::UnixPath), "{:?}", attestation.told());
}

#[tokio::test]
async fn another_program_of_the_same_process_is_asked_everything() {
    for role in ["exec on go", "exec the same on go"] {
        let (mut child, attestors) = (Child::play(role), attestors());
        let first = attestors.attest(&child.peer(), by_path).await.unwrap();
        child.go_on();
        // One that is on its way through exec is different again a moment later.
        let became =
            || std::fs::read_link(child.proc("exe")).is_ok_and(|exe| exe.ends_with("sleep")) && waits(child.pid());
        match role {
            "exec on go" => child.until(became),
            _ => child.says("ready"),
        }
        let second = attestors.attest(&child.peer(), by_path).await.unwrap();
        assert!(!Arc::ptr_eq(first.found(), second.found()), "{role}");
    }
}
