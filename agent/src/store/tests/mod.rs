//! The store as its users see it, on a real file.

mod access;
mod bundles;
mod damage;
mod kill;
mod restore;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_common::entry::{AudiencePattern, Date, Entry, EntryId, EntrySet, ImageRule, JwtTerms, X509Terms};
use countersign_common::selector::Selector;
use countersign_common::spiffe_id::{SpiffeId, TrustDomain};
use proptest::prelude::*;

use super::{Change, Restoring, Store, StoreError};

pub(super) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

/// A bundle document with this sequence and one usable key (RFC 7517, appendix A.1) of this name.
pub(super) fn bundle_document(sequence: u64, kid: &str) -> String {
    format!(
        r#"{{"spiffe_sequence": {sequence}, "keys": [{{"use": "jwt-svid", "kty": "EC", "crv": "P-256", "kid": "{kid}",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}]}}"#
    )
}

/// An entry of this id; entries of different uids differ.
pub(super) fn entry_for(id: &str, uid: u32) -> Entry {
    Entry {
        id: EntryId::parse(id).unwrap(),
        spiffe_id: SpiffeId::parse("spiffe://example.org/a").unwrap(),
        selectors: [format!("unix:uid:{uid}").parse().unwrap()].into(),
        allow: Box::default(),
        jwt: JwtTerms::default(),
        x509: X509Terms::default(),
        federates_with: Box::default(),
        hint: None,
        owner: None,
        review_by: None,
        expires: None,
    }
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of("\\PC{0,8}|[\"\\\\\u{0}\n:#-]{0,4}")
}

fn any_pattern() -> impl Strategy<Value = AudiencePattern> {
    "[a-z\u{e9}\"]{1,4}(/\\*)?".prop_map(|text| AudiencePattern::parse(&text).unwrap())
}

fn any_terms() -> impl Strategy<Value = JwtTerms> {
    let life = || any::<u64>().prop_map(Duration::from_millis);
    let audiences = prop::collection::vec((any_pattern(), prop::option::of(life())), 0..4);
    (audiences, 1..9u32, prop::option::of(life())).prop_map(|(audiences, max_audiences, ttl)| JwtTerms {
        audience_ttl: audiences.iter().filter_map(|(p, life)| Some((p.clone(), (*life)?))).collect(),
        audiences: audiences.iter().map(|(pattern, _)| pattern).collect(),
        max_audiences,
        ttl,
    })
}

fn any_x509_terms() -> impl Strategy<Value = X509Terms> {
    let ttl = prop::option::of(any::<u64>().prop_map(Duration::from_millis));
    let dns_names = prop::collection::vec("(\\*\\.)?[a-z]{1,4}(\\.[a-z0-9]{1,3}[a-z]){0,2}", 0..4);
    (ttl, dns_names).prop_map(|(ttl, dns_names)| X509Terms { ttl, dns_names: dns_names.into() })
}

fn any_other_domains() -> impl Strategy<Value = BTreeSet<TrustDomain>> {
    prop::collection::btree_set("[a-z0-9._-]{1,6}".prop_map(|name| TrustDomain::parse(&name).unwrap()), 0..4)
}

fn any_selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        any::<u32>().prop_map(|uid| format!("unix:uid:{uid}").parse().unwrap()),
        "/[a-z :\"\u{e9}]{0,8}".prop_map(|path| format!("unix:path:{path}").parse().unwrap()),
    ]
}

/// Every entry that a file of entries can make, and some more.
pub(super) fn any_entry() -> impl Strategy<Value = Entry> {
    let day = || prop::option::of((1970..2200u32, 1..13u32, 1..29u32));
    let identity = ("[a-zA-Z0-9._/-]{1,128}", "(/[a-z]{1,5}){1,3}", prop::collection::btree_set(any_selector(), 1..5));
    let allow = prop::sample::subsequence(ImageRule::ALL.to_vec(), 0..=ImageRule::ALL.len());
    let x509 = (any_x509_terms(), any_other_domains());
    (identity, allow, any_terms(), x509, any_text(), any_text(), day(), day()).prop_map(
        |((id, path, selectors), allow, jwt, (x509, federates_with), hint, owner, review_by, expires)| {
            let date = |(year, month, day)| Date::parse(&format!("{year:04}-{month:02}-{day:02}"));
            Entry {
                id: EntryId::parse(&id).unwrap(),
                spiffe_id: SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap(),
                selectors: selectors.into(),
                allow: allow.into_iter().collect(),
                jwt,
                x509,
                federates_with: federates_with.into_iter().collect(),
                hint: hint.map(Into::into),
                owner: owner.map(Into::into),
                review_by: review_by.and_then(date),
                expires: expires.and_then(date),
            }
        },
    )
}

/// Sets of entries out of few ids, so that they overlap.
pub(super) fn sets_of(size: Range<usize>) -> impl Strategy<Value = EntrySet> {
    prop::collection::btree_map("[a-f]", 0..3u32, size).prop_map(|uids| {
        let entries = uids.into_iter().map(|(id, uid)| Arc::new(entry_for(&id, uid)));
        EntrySet { revision: 1, entries: entries.collect() }
    })
}

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, &trust_domain())
}

fn ids(store: &Store) -> Vec<String> {
    store.entries().borrow().entries.iter().map(|entry| entry.id.to_string()).collect()
}

async fn story(store: &Store) {
    let mut news = store.entries();
    assert_eq!(news.borrow_and_update().revision, 0);

    let applied = store.apply(vec![entry_for("b", 1), entry_for("a", 1)], false, false).await.unwrap();
    assert_eq!(applied.revision, 1);
    let created = |id| Change::Created(Arc::new(entry_for(id, 1)));
    assert_eq!(applied.changes, [created("a"), created("b")]);
    assert!(news.has_changed().unwrap());

    let dry = store.apply(vec![entry_for("c", 1)], true, true).await.unwrap();
    assert_eq!((dry.revision, dry.changes.len()), (1, 3));
    assert_eq!(ids(store), ["a", "b"]);

    let same = store.apply(vec![entry_for("a", 1)], false, false).await.unwrap();
    assert_eq!((same.revision, same.changes), (1, vec![Change::Unchanged(Arc::new(entry_for("a", 1)))]));

    let pruned = store.apply(vec![entry_for("a", 2), entry_for("c", 1)], true, false).await.unwrap();
    let (before, after) = (Arc::new(entry_for("a", 1)), Arc::new(entry_for("a", 2)));
    let deleted = Change::Deleted(Arc::new(entry_for("b", 1)));
    assert_eq!(pruned.changes, [Change::Updated { before, after }, deleted, created("c")]);

    let id = |text| EntryId::parse(text).unwrap();
    let refused = store.delete(vec![id("a"), id("b")]).await.unwrap_err();
    assert!(matches!(refused, StoreError::NoSuchEntry(missing) if missing == id("b")));
    assert_eq!(store.delete(vec![id("c"), id("c")]).await.unwrap().revision, 3);
    assert_eq!(ids(store), ["a"]);

    assert_eq!(store.authority_state().await.unwrap(), None);
    store.save_authority_state(b"sealed".to_vec()).await.unwrap();
    assert_eq!(store.authority_state().await.unwrap().as_deref(), Some(&b"sealed"[..]));
    assert_eq!(store.entries().borrow().revision, 3);
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
    assert_eq!((store.entries().borrow().revision, ids(&store)), (3, vec!["a".to_owned()]));
    assert_eq!(*store.entries().borrow().entries[0], entry_for("a", 2));
    assert_eq!(store.authority_state().await.unwrap().as_deref(), Some(&b"sealed"[..]));
}

#[tokio::test]
async fn a_closed_store_refuses() {
    let store = Store::in_memory(&trust_domain()).unwrap();
    store.clone().close().await;
    store.close().await;
    assert!(matches!(store.authority_state().await, Err(StoreError::Closed)));
    assert!(matches!(store.apply(vec![], true, false).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn whoever_asks_at_once_is_served_one_after_the_other() {
    let store = Store::in_memory(&trust_domain()).unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.apply(vec![entry_for(&format!("e{n}"), n)], false, false).await })
        })
        .collect();
    let mut revisions = vec![];
    for task in tasks {
        revisions.push(task.await.unwrap().unwrap().revision);
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=100).collect::<Vec<u64>>());
    assert_eq!(ids(&store).len(), 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn every_entry_comes_back_from_the_disk_as_it_was(entries in prop::collection::vec(any_entry(), 0..20)) {
        let mut entries: Vec<Entry> = entries;
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        entries.dedup_by(|a, b| a.id == b.id);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = open(&path).unwrap();
            store.apply(entries.clone(), false, false).await.unwrap();
            store.close().await;
        });
        let store = open(&path).unwrap();
        let read: Vec<Entry> = store.entries().borrow().entries.iter().map(|entry| Entry::clone(entry)).collect();
        prop_assert_eq!(read, entries);
        runtime.block_on(store.close());
    }
}
