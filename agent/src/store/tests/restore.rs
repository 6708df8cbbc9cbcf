//! Backups: whole while the agent works, and refused where they cannot be used.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use countersign_common::spiffe_id::TrustDomain;

use super::{Restoring, Store, StoreError, entry_for, ids, open, trust_domain};

/// A directory with a store that has one entry and a state, and its backup.
struct Scene {
    directory: tempfile::TempDir,
    backup: PathBuf,
}

impl Scene {
    async fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory.path().join("store.redb")).unwrap();
        store.apply(vec![entry_for("a", 1)], false, false).await.unwrap();
        store.save_authority_state(b"sealed".to_vec()).await.unwrap();
        let backup = directory.path().join("backup");
        take(&store, &backup).await;
        store.apply(vec![entry_for("b", 1)], false, false).await.unwrap();
        store.close().await;
        Self { directory, backup }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store.redb")
    }

    fn restoring(&self) -> Result<Restoring, StoreError> {
        Restoring::read(&self.backup, &self.store(), &trust_domain())
    }

    /// What is said instead of restoring, with the directory's name taken out.
    fn refusal(&self) -> String {
        let error = self.restoring().and_then(|restoring| restoring.place(false)).unwrap_err().to_string();
        error.replace(self.directory.path().to_str().unwrap(), "DIR")
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

async fn take(store: &Store, to: &Path) {
    let mut copy = store.copy().await.unwrap();
    // As a backup comes from elsewhere: with a mode that the agent's own file would not have.
    std::io::copy(&mut copy, &mut File::create(to).unwrap()).unwrap();
}

#[tokio::test]
async fn a_backup_is_the_store_as_it_was_and_what_it_replaces_is_kept() {
    let scene = Scene::set().await;
    let kept = scene.restoring().unwrap().place(true).unwrap().unwrap();
    let restored = open(&scene.store()).unwrap();
    assert_eq!((ids(&restored), restored.entries().borrow().revision), (vec!["a".to_owned()], 1));
    assert_eq!(restored.authority_state().await.unwrap().as_deref(), Some(&b"sealed"[..]));
    assert_eq!(ids(&open(&kept).unwrap()), ["a", "b"]);
    assert_eq!(scene.names(), ["backup", "store.redb", "store.redb.replaced-1"]);
}

#[tokio::test]
async fn a_store_that_is_there_is_not_replaced_unasked() {
    let scene = Scene::set().await;
    assert_eq!(
        scene.refusal(),
        "there is a database at DIR/store.redb already; with --replace it is kept beside, under another name"
    );
    assert_eq!(ids(&open(&scene.store()).unwrap()), ["a", "b"]);
    assert_eq!(scene.names(), ["backup", "store.redb"]);
}

#[tokio::test]
async fn a_store_that_an_agent_works_with_is_not_replaced_at_all() {
    let scene = Scene::set().await;
    let at_work = open(&scene.store()).unwrap();
    let refused = scene.restoring().unwrap().place(true).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    assert_eq!(ids(&at_work), ["a", "b"]);
    assert_eq!(scene.names(), ["backup", "store.redb"]);
}

#[tokio::test]
async fn a_damaged_store_is_what_restoring_is_for() {
    let scene = Scene::set().await;
    fs::write(scene.store(), b"not a database").unwrap();
    assert!(scene.restoring().unwrap().place(true).unwrap().is_some());
    assert_eq!(ids(&open(&scene.store()).unwrap()), ["a"]);
}

#[tokio::test]
async fn what_is_no_whole_backup_of_this_trust_domain_restores_nothing() {
    let scene = Scene::set().await;
    fs::remove_file(scene.store()).unwrap();
    let whole = fs::read(&scene.backup).unwrap();
    for (bytes, said) in [
        (&whole[..whole.len() / 2], "is damaged"),
        (b"redb", "is damaged: the file is cut short"),
        (&[b'x'; 100], "DIR/backup is not a database of Countersign"),
    ] {
        File::create(&scene.backup).unwrap().write_all(bytes).unwrap();
        assert!(scene.refusal().contains(said), "{}", scene.refusal());
    }
    fs::write(&scene.backup, &whole).unwrap();
    let other = Restoring::read(&scene.backup, &scene.store(), &TrustDomain::parse("other.example").unwrap());
    assert!(matches!(other.map(drop), Err(StoreError::OtherTrustDomain { .. })));
    assert_eq!(scene.names(), ["backup"]);
    assert_eq!(scene.restoring().unwrap().place(false).unwrap(), None);
    assert_eq!(ids(&open(&scene.store()).unwrap()), ["a"]);
}

#[tokio::test]
async fn a_backup_is_of_one_revision_whatever_is_changed_meanwhile() {
    let scene = Scene::set().await;
    let store = open(&scene.store()).unwrap();
    let changing = tokio::spawn({
        let store = store.clone();
        async move {
            for uid in 0..50 {
                store.apply(vec![entry_for("a", uid), entry_for("b", uid)], false, false).await.unwrap();
            }
        }
    });
    for number in 0..10 {
        let path = scene.directory.path().join(format!("backup-{number}"));
        take(&store, &path).await;
        let place = scene.directory.path().join(format!("store-{number}.redb"));
        Restoring::read(&path, &place, &trust_domain()).unwrap().place(false).unwrap();
        let restored = open(&place).unwrap();
        let entries = restored.entries().borrow().entries.clone();
        assert_eq!(entries[0].selectors, entries[1].selectors, "both entries of one change");
    }
    changing.await.unwrap();
}

#[tokio::test]
async fn what_is_kept_nowhere_has_no_backup() {
    let store = Store::in_memory(&trust_domain()).unwrap();
    assert!(matches!(store.copy().await.map(drop), Err(StoreError::NothingKept)));
}
