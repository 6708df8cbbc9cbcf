//! What is kept, for how long, and what happens when the disk does not take it.

use std::path::Path;

use super::super::samples;
use super::*;

/// Later than any sample's beginning, earlier than any end.
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn identities(name: &str, year: i32) -> Identities {
    Identities::read(samples::answer(&[samples::svid_until(name, "", year)])).unwrap()
}

fn end(identities: &Identities) -> Timestamp {
    identities.svids[0].leaf.not_after
}

fn keeper(path: &Path) -> Keeper {
    Keeper::new(Some(Folder::take(path, 0o600).unwrap()), AfterRenewal::default())
}

fn generation(path: &Path) -> Option<std::path::PathBuf> {
    std::fs::read_link(path.join("..data")).ok()
}

#[tokio::test]
async fn what_is_the_same_is_not_written_again() {
    let place = tempfile::tempdir().unwrap();
    let mut keeper = keeper(place.path());
    let answer = samples::answer(&[samples::svid("a", "")]);
    keeper.take(Identities::read(answer.clone()).unwrap()).await.unwrap();
    let first = generation(place.path());
    keeper.take(Identities::read(answer.clone()).unwrap()).await.unwrap();
    assert_eq!(generation(place.path()), first);
    let mut more = answer;
    more.federated_bundles = [("spiffe://other.org".to_owned(), more.svids[0].bundle.clone())].into();
    keeper.take(Identities::read(more).unwrap()).await.unwrap();
    assert_ne!(generation(place.path()), first, "a bundle is reason enough");
    assert!(place.path().join("federated/other.org.pem").exists());
}

#[tokio::test]
async fn what_expires_is_withdrawn_in_its_last_second_and_not_before() {
    let place = tempfile::tempdir().unwrap();
    let mut keeper = keeper(place.path());
    let identities = identities("a", 2100);
    let end = end(&identities);
    keeper.take(identities).await.unwrap();
    assert!(!keeper.look(end).await);
    assert!(place.path().join("key.pem").exists() && keeper.held().is_some());
    assert!(keeper.look(end.after(Duration::from_secs(1))).await);
    assert!(!place.path().join("key.pem").exists() && keeper.held().is_none());
    assert!(!keeper.look(end.after(Duration::from_secs(2))).await, "once");
}

#[tokio::test]
async fn what_the_agent_takes_back_goes_at_once_and_comes_back_when_it_is_granted_again() {
    let place = tempfile::tempdir().unwrap();
    let mut keeper = keeper(place.path());
    keeper.withdraw().await;
    let answer = samples::answer(&[samples::svid("a", "")]);
    keeper.take(Identities::read(answer.clone()).unwrap()).await.unwrap();
    keeper.withdraw().await;
    assert!(!place.path().join("svid.pem").exists() && generation(place.path()).is_none());
    keeper.take(Identities::read(answer).unwrap()).await.unwrap();
    assert!(place.path().join("svid.pem").exists(), "though it is the same");
}

#[tokio::test]
async fn what_the_disk_does_not_take_is_tried_again_and_the_old_goes_when_it_expires() {
    let place = tempfile::tempdir().unwrap();
    let mut keeper = keeper(place.path());
    let old = identities("a", 2050);
    let until = end(&old);
    keeper.take(old).await.unwrap();
    let first = generation(place.path());
    // A directory in the way of the link: as good as a disk that takes nothing.
    let obstacle = place.path().join("..data-next");
    std::fs::create_dir(&obstacle).unwrap();
    assert!(keeper.take(identities("a", 2100)).await.is_err());
    assert_eq!((generation(place.path()), keeper.until_look(NOW)), (first.clone(), WRITE_AGAIN));
    keeper.look(NOW).await;
    assert_eq!(generation(place.path()), first, "the old one counts");
    // Nothing of what expired may stay, even if the new one cannot be written.
    keeper.look(until.after(Duration::from_secs(1))).await;
    assert_eq!(generation(place.path()), None);
    std::fs::remove_dir(&obstacle).unwrap();
    keeper.look(until.after(Duration::from_secs(6))).await;
    assert!(generation(place.path()).is_some_and(|now| Some(now) != first));
    assert!(keeper.is_written);
}

#[tokio::test]
async fn the_clock_is_looked_at_often_and_a_silent_stream_is_left_in_time() {
    let mut keeper = Keeper::new(None, AfterRenewal::default());
    assert_eq!((keeper.until_look(NOW), keeper.patience(NOW)), (LOOK, IDLE));
    let identities = identities("a", 2100);
    let end = end(&identities);
    keeper.take(identities).await.unwrap();
    let before = |seconds: u64| Timestamp::from_seconds(end.seconds() - seconds);
    assert_eq!(keeper.patience(before(3600)), Duration::from_secs(2700));
    assert_eq!(keeper.patience(before(10)), LOOK, "not a busy loop");
    assert_eq!(keeper.until_look(before(3600)), LOOK);
    assert_eq!(keeper.until_look(before(4)), Duration::from_secs(5), "when it has expired");
    assert!(keeper.look(end.after(Duration::from_secs(1))).await, "without files too");
}
