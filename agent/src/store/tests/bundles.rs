//! Bundles of other trust domains in the store, and databases from before there were any.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use countersign_common::bundle::Bundle;
use countersign_common::spiffe_id::TrustDomain;
use redb::{ReadableDatabase, TableDefinition};

use super::{Change, Store, StoreError, bundle_document, entry_for, ids, open, trust_domain};
use crate::store::BundleRefusal;

const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<'_, &str, &str> = TableDefinition::new("entries");
const AUTHORITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("authority");
const BUNDLES: TableDefinition<'_, &str, &str> = TableDefinition::new("bundles");

fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

async fn set(store: &Store, name: &str, document: &str) -> Result<Change<Bundle>, StoreError> {
    store.set_bundle(domain(name), document.to_owned(), false, false).await
}

/// Whose bundles are published, each with its sequence and number of keys.
fn published(store: &Store) -> Vec<(String, u64, usize)> {
    let of = |bundle: &Bundle| (bundle.trust_domain.to_string(), bundle.sequence, bundle.jwt_authorities.len());
    store.foreign_bundles().borrow().values().map(|bundle| of(bundle)).collect()
}

async fn story(store: &Store) {
    let mut news = store.foreign_bundles();
    assert!(news.borrow_and_update().is_empty());
    let first = bundle_document(3, "a");
    assert!(matches!(set(store, "b.example", &first).await.unwrap(), Change::Created(_)));
    assert!(news.has_changed().unwrap());
    assert_eq!(published(store), [("b.example".to_owned(), 3, 1)]);
    assert_eq!(store.bundle_document(domain("b.example")).await.unwrap(), first);

    news.borrow_and_update();
    let refused = set(store, "b.example", "no bundle").await.unwrap_err();
    assert!(matches!(refused, StoreError::Bundle(BundleRefusal::NotABundle { .. })), "{refused}");
    let older = set(store, "b.example", &bundle_document(2, "a")).await.unwrap_err();
    assert!(matches!(older, StoreError::Bundle(BundleRefusal::Older { set: 3, given: 2, .. })), "{older}");
    assert!(matches!(set(store, "b.example", &(first.clone() + "\n")).await.unwrap(), Change::Unchanged(_)));
    let dry = store.set_bundle(domain("b.example"), bundle_document(2, "a"), true, true).await.unwrap();
    assert!(matches!(dry, Change::Updated { .. }));
    assert!(!news.has_changed().unwrap(), "nothing of that changed anything");
    assert_eq!(store.bundle_document(domain("b.example")).await.unwrap(), first, "the last good one is kept");

    let none = r#"{"keys": [], "spiffe_sequence": 4}"#;
    assert!(matches!(set(store, "b.example", none).await.unwrap(), Change::Updated { .. }));
    assert_eq!(published(store), [("b.example".to_owned(), 4, 0)], "a bundle that validates nothing is one");
    set(store, "a.example", &bundle_document(1, "a")).await.unwrap();
    let gone = store.delete_bundle(domain("b.example"), true).await.unwrap();
    assert!(matches!(gone, Change::Deleted(bundle) if bundle.sequence == 4));
    assert_eq!(published(store).len(), 2);
    store.delete_bundle(domain("b.example"), false).await.unwrap();
    assert_eq!(published(store), [("a.example".to_owned(), 1, 1)]);
    for refused in [
        store.delete_bundle(domain("b.example"), false).await.map(|_| ()),
        store.bundle_document(domain("b.example")).await.map(|_| ()),
    ] {
        assert_eq!(refused.unwrap_err().to_string(), "no bundle of b.example is set; see: countersign bundle list");
    }
    assert_eq!(store.entries().borrow().revision, 0, "a revision is of entries");
}

#[tokio::test]
async fn the_story_in_memory() {
    story(&Store::in_memory(&trust_domain()).unwrap()).await;
}

#[tokio::test]
async fn the_story_on_disk_is_there_again_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = open(&path).unwrap();
    story(&store).await;
    store.close().await;
    let store = open(&path).unwrap();
    assert_eq!(published(&store), [("a.example".to_owned(), 1, 1)]);
    assert_eq!(store.bundle_document(domain("a.example")).await.unwrap(), bundle_document(1, "a"));
    assert!(matches!(
        set(&store, "a.example", &bundle_document(0, "a")).await.unwrap_err(),
        StoreError::Bundle(BundleRefusal::Older { set: 1, given: 0, .. })
    ));
}

/// A database as the release before bundles left it.
fn of_format_1(path: &Path) {
    let database = redb::Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let fields = [("format", "1"), ("trust_domain", "example.org"), ("revision", "7")];
    let entry = r#"{"spiffe_id":"spiffe://example.org/a","selectors":["unix:uid:1"],"audiences":[],"max_audiences":1}"#;
    for (name, value) in fields {
        transaction.open_table(META).unwrap().insert(name, value).unwrap();
    }
    transaction.open_table(ENTRIES).unwrap().insert("a", entry).unwrap();
    transaction.open_table(AUTHORITY).unwrap().insert("state", &b"sealed"[..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Changes the file behind the back of the store.
fn tampered(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

/// What the field `format` says.
fn format(path: &Path) -> String {
    let database = redb::Database::open(path).unwrap();
    let table = database.begin_read().unwrap().open_table(META).unwrap();
    table.get("format").unwrap().unwrap().value().to_owned()
}

#[tokio::test]
async fn a_database_from_before_bundles_is_taken_as_it_is_and_refused_by_its_release_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    of_format_1(&path);
    for has_been_upgraded in [false, true] {
        let store = open(&path).unwrap();
        assert_eq!((store.entries().borrow().revision, ids(&store)), (7, vec!["a".to_owned()]));
        assert_eq!(*store.entries().borrow().entries[0], entry_for("a", 1));
        assert_eq!(store.authority_state().await.unwrap().as_deref(), Some(&b"sealed"[..]));
        assert_eq!(published(&store).len(), usize::from(has_been_upgraded));
        set(&store, "a.example", &bundle_document(1, "a")).await.unwrap();
        store.close().await;
        // Releases that know formats up to 1 refuse it.
        assert_eq!(format(&path), "2");
    }
}

#[tokio::test]
async fn a_database_that_is_refused_is_not_upgraded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    of_format_1(&path);
    let refused = Store::open(&path, &domain("other.example")).unwrap_err();
    assert!(matches!(refused, StoreError::OtherTrustDomain { .. }));
    assert_eq!(format(&path), "1");
    tampered(&path, |transaction| {
        transaction.open_table(ENTRIES).unwrap().insert("b", "{}").unwrap();
    });
    assert!(matches!(open(&path).unwrap_err(), StoreError::Damaged { .. }));
    assert_eq!(format(&path), "1");
}

#[tokio::test]
async fn d7_a_bundle_that_is_none_is_damage_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = open(&path).unwrap();
    set(&store, "a.example", &bundle_document(1, "a")).await.unwrap();
    store.close().await;
    for (name, document, said) in [
        ("a.example", "{}", "the bundle of \"a.example\": not a JSON Web Key Set: it has no list \"keys\""),
        ("A", r#"{"keys": []}"#, "the bundle of \"A\": has a trust domain with other characters"),
        ("example.org", r#"{"keys": []}"#, "the bundle of \"example.org\": it is of the agent's own trust domain"),
    ] {
        tampered(&path, |transaction| {
            transaction.open_table(BUNDLES).unwrap().insert(name, document).unwrap();
        });
        let told = open(&path).unwrap_err().to_string();
        assert!(told.contains("store.redb is damaged: ") && told.contains(said), "{told}");
        tampered(&path, |transaction| {
            let mut table = transaction.open_table(BUNDLES).unwrap();
            table.remove(name).unwrap();
            table.insert("a.example", bundle_document(1, "a").as_str()).unwrap();
        });
    }
    let store = open(&path).unwrap();
    assert_eq!(published(&store), [("a.example".to_owned(), 1, 1)]);
    store.close().await;

    // A table that is gone does not read as "no bundles".
    tampered(&path, |transaction| assert!(transaction.delete_table(BUNDLES).unwrap()));
    assert!(matches!(open(&path).unwrap_err(), StoreError::Damaged { .. }));
}
