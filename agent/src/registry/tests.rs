//! The index against the rule in its plainest words: look at every entry.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use countersign_common::clock::Timestamp;
use countersign_common::entry::{Date, Entry, EntryId, EntrySet, JwtTerms};
use countersign_common::selector::{Selector, SelectorKind, SelectorRef};
use countersign_common::spiffe_id::SpiffeId;
use proptest::prelude::*;

use super::Snapshot;

pub(super) fn entry(id: &str, selectors: &[&str]) -> Arc<Entry> {
    Arc::new(Entry {
        id: EntryId::parse(id).unwrap(),
        spiffe_id: SpiffeId::parse("spiffe://example.org/a").unwrap(),
        selectors: selectors.iter().map(|text| text.parse().unwrap()).collect(),
        allow: Box::default(),
        jwt: JwtTerms::default(),
        x509: countersign_common::entry::X509Terms::default(),
        federates_with: Box::default(),
        hint: None,
        owner: None,
        review_by: None,
        expires: None,
    })
}

pub(super) fn set(revision: u64, entries: Vec<Arc<Entry>>) -> Arc<EntrySet> {
    Arc::new(EntrySet { revision, entries })
}

fn selectors(texts: &[&str]) -> BTreeSet<Selector> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// The digest of a binary, as a selector.
const DIGEST: &str = "unix:sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn the_digest_is_worth_its_price_only_where_an_entry_turns_on_it() {
    let snapshot = Snapshot::new(&set(1, vec![entry("a", &["unix:uid:1", DIGEST]), entry("b", &["unix:uid:2"])]));
    let told: BTreeSet<SelectorKind> =
        SelectorKind::ALL.into_iter().filter(|kind| *kind != SelectorKind::UnixSha256).collect();
    assert_eq!(snapshot.worth_telling(&selectors(&["unix:uid:1"]), &told), [SelectorKind::UnixSha256].into());
    assert!(snapshot.worth_telling(&selectors(&["unix:uid:2"]), &told).is_empty());

    let by_digest_alone = Snapshot::new(&set(1, vec![entry("a", &[DIGEST])]));
    assert_eq!(by_digest_alone.worth_telling(&selectors(&["unix:uid:9"]), &told), [SelectorKind::UnixSha256].into());
}

#[test]
fn an_entry_grants_nothing_from_its_last_day_on() {
    let mut last = Entry::clone(&entry("a", &["unix:uid:1"]));
    let day = Date::parse("2027-09-01").unwrap();
    last.expires = Some(day);
    let snapshot = Snapshot::new(&set(1, vec![Arc::new(last)]));
    let matches_at =
        |now| snapshot.matches(&selectors(&["unix:uid:1"]), &[SelectorKind::UnixPath].into(), now).entries.len();
    let eve = Timestamp::from_seconds(day.begins().seconds() - 1);
    assert_eq!((matches_at(eve), matches_at(day.begins())), (1, 0));
    assert_eq!(matches_at(day.begins().after(Duration::from_secs(1))), 0);
}

#[test]
fn an_entry_without_selectors_is_nobodys() {
    let snapshot = Snapshot::new(&set(1, vec![entry("a", &[])]));
    let all = SelectorKind::ALL.into();
    let matches = snapshot.matches(&selectors(&["unix:uid:1"]), &all, NOW);
    assert!(matches.entries.is_empty() && matches.undecided.is_empty());
    assert!(snapshot.worth_telling(&selectors(&["unix:uid:1"]), &BTreeSet::new()).is_empty());
}

#[test]
fn entries_that_share_a_selector_are_told_apart_by_another() {
    let entries = (0..1000).map(|n| entry(&format!("e{n:04}"), &["unix:uid:1", &format!("unix:path:/bin/{n}")]));
    let snapshot = Snapshot::new(&set(1, entries.collect()));
    // The uid alone leads nowhere: no entry is filed under what all of them share.
    let filed_at = |text: &str| snapshot.filed_at(text.parse::<Selector>().unwrap().by_ref()).count();
    assert_eq!((filed_at("unix:uid:1"), filed_at("unix:path:/bin/7")), (0, 1));
    let found = snapshot.matches(&selectors(&["unix:uid:1", "unix:path:/bin/7"]), &BTreeSet::new(), NOW).entries;
    assert_eq!(found.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["e0007"]);
}

#[test]
fn nobody_is_filed_under_a_digest_who_has_anything_cheaper() {
    let entries = (0..100).map(|n| entry(&format!("e{n}"), &["unix:uid:1", &format!("unix:sha256:{n:064}")]));
    let snapshot = Snapshot::new(&set(1, entries.collect()));
    assert!(snapshot.by_kinds.keys().eq([&SelectorKind::UnixUid]));
}

/// Kinds enough to be told, not told and unavailable in every mixture.
const FEW_KINDS: &[SelectorKind] = SelectorKind::ALL.split_at(9).0;

/// A selector out of few, so that sets meet.
fn any_selector() -> impl Strategy<Value = Selector> {
    (0..FEW_KINDS.len(), 0..3u32).prop_map(|(kind, value)| {
        let kind = FEW_KINDS[kind];
        let text = match kind {
            SelectorKind::UnixSha256 => format!("{value:064}"),
            SelectorKind::UnixPath | SelectorKind::CgroupPath => format!("/{value}"),
            _ => value.to_string(),
        };
        Selector::new(kind, &text).unwrap()
    })
}

fn any_kinds() -> impl Strategy<Value = BTreeSet<SelectorKind>> {
    prop::sample::subsequence(FEW_KINDS, 0..=9).prop_map(|kinds| kinds.into_iter().collect())
}

fn any_set() -> impl Strategy<Value = Arc<EntrySet>> {
    let terms = (prop::collection::btree_set(any_selector(), 0..4), prop::option::of(0..2usize));
    prop::collection::vec(terms, 0..12).prop_map(|terms| {
        let days = ["2020-01-01", "2090-01-01"].map(Date::parse);
        let entries = terms.into_iter().enumerate().map(|(n, (selectors, day))| {
            let mut entry = Entry::clone(&entry(&format!("e{n:02}"), &[]));
            entry.selectors = selectors.into();
            entry.expires = day.and_then(|day| days[day]);
            Arc::new(entry)
        });
        set(1, entries.collect())
    })
}

proptest! {
    #[test]
    fn matches_agrees_with_a_look_at_every_entry(
        set in any_set(),
        held in prop::collection::btree_set(any_selector(), 0..10),
        unavailable in any_kinds(),
    ) {
        let matches = Snapshot::new(&set).matches(&held, &unavailable, NOW);
        let (mut entries, mut undecided) = (vec![], vec![]);
        for entry in &set.entries {
            if entry.selectors.is_empty() || entry.expires.is_some_and(|day| day.begins() <= NOW) {
                continue;
            }
            if entry.selectors.iter().all(|selector| selector.is_in(&held)) {
                entries.push(Arc::clone(entry));
            } else if entry.selectors.iter().all(|s| s.is_in(&held) || unavailable.contains(&s.kind())) {
                undecided.push(entry.id.clone());
            }
        }
        prop_assert_eq!(matches.entries, entries);
        prop_assert_eq!(matches.undecided, undecided);
    }

    #[test]
    fn worth_telling_agrees_with_a_look_at_every_entry(
        set in any_set(),
        held in prop::collection::btree_set(any_selector(), 0..10),
        told in any_kinds(),
    ) {
        let held: BTreeSet<Selector> = held.into_iter().filter(|s| told.contains(&s.kind())).collect();
        let mut worth = BTreeSet::new();
        for entry in &set.entries {
            let (known, missing): (Vec<_>, Vec<_>) = entry.selectors.iter().partition(|s| told.contains(&s.kind()));
            if known.into_iter().all(|selector| selector.is_in(&held)) {
                worth.extend(missing.into_iter().map(SelectorRef::kind));
            }
        }
        prop_assert_eq!(Snapshot::new(&set).worth_telling(&held, &told), worth);
    }
}
