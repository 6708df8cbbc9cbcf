//! From sets of entries to snapshots: one task owns the way between the two watches.

use std::sync::Arc;

use countersign_common::entry::EntrySet;
use tokio::sync::watch;

use super::Snapshot;

/// Publishes a snapshot for every set of entries that arrives; ends when `entries` does, or
/// when nobody listens any more. The first snapshot is there when this returns.
///
/// Has to be called within a tokio runtime.
pub fn publish(mut entries: watch::Receiver<Arc<EntrySet>>) -> watch::Receiver<Arc<Snapshot>> {
    let first = Snapshot::new(&entries.borrow_and_update().clone());
    let (sender, receiver) = watch::channel(Arc::new(first));
    tokio::spawn(async move {
        while changed(&mut entries, &sender).await {
            // Taken out of the watch first: indexing under its lock would make the store wait.
            let set = entries.borrow_and_update().clone();
            sender.send_replace(Arc::new(Snapshot::new(&set)));
        }
    });
    receiver
}

/// Waits for the next set; false when there will be none, or nobody to tell.
async fn changed(entries: &mut watch::Receiver<Arc<EntrySet>>, listeners: &watch::Sender<Arc<Snapshot>>) -> bool {
    tokio::select! {
        changed = entries.changed() => changed.is_ok(),
        () = listeners.closed() => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, set};
    use super::*;

    #[tokio::test]
    async fn every_latest_set_becomes_a_snapshot() {
        let (store, entries) = watch::channel(set(7, vec![entry("a", &["unix:uid:1"])]));
        let mut snapshots = publish(entries);
        assert_eq!(snapshots.borrow_and_update().revision(), 7);
        for revision in 8..12 {
            store.send_replace(set(revision, vec![]));
            snapshots.wait_for(|snapshot| snapshot.revision() == revision).await.unwrap();
        }
    }

    #[tokio::test]
    async fn ends_with_the_store() {
        let (store, entries) = watch::channel(set(1, vec![]));
        let mut snapshots = publish(entries);
        drop(store);
        assert!(snapshots.changed().await.is_err());
        assert_eq!(snapshots.borrow().revision(), 1);
    }

    #[tokio::test]
    async fn ends_with_its_last_listener() {
        let (store, entries) = watch::channel(set(1, vec![]));
        drop(publish(entries));
        store.closed().await;
    }
}
