//! What a request would change, decided before anything is written. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use countersign_common::entry::{Entry, EntryId, EntrySet};

use super::{Change, StoreError};

/// The most entries that a store holds.
pub(super) const MAX_ENTRIES: usize = 100_000;

/// What applying `entries` would change, in the order of their ids.
///
/// # Errors
/// An id stands twice, or there would be too many entries.
pub(super) fn apply(current: &EntrySet, entries: Vec<Entry>, prune: bool) -> Result<Vec<Change>, StoreError> {
    let before = by_id(current);
    let mut changes = BTreeMap::new();
    for entry in entries {
        let id = entry.id.clone();
        let change = match before.get(&id) {
            None => Change::Created(Arc::new(entry)),
            Some(&same) if **same == entry => Change::Unchanged(Arc::clone(same)),
            Some(&before) => Change::Updated { before: Arc::clone(before), after: Arc::new(entry) },
        };
        if changes.insert(id.clone(), change).is_some() {
            return Err(StoreError::DuplicateEntry(id));
        }
    }
    if prune {
        for entry in &current.entries {
            changes.entry(entry.id.clone()).or_insert_with(|| Change::Deleted(Arc::clone(entry)));
        }
    }
    let changes: Vec<Change> = changes.into_values().collect();
    let count = after(current, &changes).len();
    if count > MAX_ENTRIES { Err(StoreError::TooManyEntries { count }) } else { Ok(changes) }
}

/// What deleting the entries of these ids would change, in the order of the ids.
///
/// # Errors
/// The first of the ids that no entry has.
pub(super) fn delete(current: &EntrySet, ids: Vec<EntryId>) -> Result<Vec<Change>, StoreError> {
    let before = by_id(current);
    let ids: BTreeSet<EntryId> = ids.into_iter().collect();
    ids.into_iter()
        .map(|id| before.get(&id).map(|&entry| Change::Deleted(Arc::clone(entry))).ok_or(StoreError::NoSuchEntry(id)))
        .collect()
}

/// The entries as `changes` leave them, sorted by id.
pub(super) fn after(current: &EntrySet, changes: &[Change]) -> Vec<Arc<Entry>> {
    let mut entries = by_id(current);
    for change in changes {
        match change {
            Change::Created(entry) | Change::Updated { after: entry, .. } => entries.insert(&entry.id, entry),
            Change::Deleted(entry) => entries.remove(&entry.id),
            Change::Unchanged(_) => None,
        };
    }
    entries.into_values().cloned().collect()
}

fn by_id(set: &EntrySet) -> BTreeMap<&EntryId, &Arc<Entry>> {
    set.entries.iter().map(|entry| (&entry.id, entry)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{entry_for, sets_of};
    use super::*;

    #[test]
    fn an_id_that_stands_twice_is_refused() {
        let twice = vec![entry_for("a", 1), entry_for("b", 1), entry_for("a", 2)];
        let refused = apply(&EntrySet::default(), twice, false).unwrap_err();
        assert_eq!(refused.to_string(), "two of the entries have the id a; each id stands once in an apply");
    }

    #[test]
    fn deleting_what_is_not_there_deletes_nothing() {
        let set = EntrySet { revision: 1, entries: vec![Arc::new(entry_for("a", 1))] };
        let ids = ["a", "b"].map(|id| EntryId::parse(id).unwrap()).to_vec();
        assert_eq!(delete(&set, ids).unwrap_err().to_string(), "no entry has the id b; see: countersign entry list");
    }

    #[test]
    fn a_store_has_an_end() {
        let many = (0..=MAX_ENTRIES).map(|n| entry_for(&n.to_string(), 1)).collect();
        assert!(matches!(apply(&EntrySet::default(), many, false), Err(StoreError::TooManyEntries { count: 100_001 })));
    }

    proptest! {
        #[test]
        fn applying_makes_the_entries_what_was_applied(before in sets_of(0..6), wanted in sets_of(0..6), prune: bool) {
            let applied: Vec<Entry> = wanted.entries.iter().map(|entry| Entry::clone(entry)).collect();
            let changes = apply(&before, applied, prune).unwrap();
            let mut expected = if prune { BTreeMap::new() } else { by_id(&before) };
            expected.extend(by_id(&wanted));
            prop_assert_eq!(after(&before, &changes), expected.into_values().cloned().collect::<Vec<_>>());
        }

        #[test]
        fn applying_twice_changes_nothing_the_second_time(before in sets_of(0..6), wanted in sets_of(0..6)) {
            let applied: Vec<Entry> = wanted.entries.iter().map(|entry| Entry::clone(entry)).collect();
            let first = apply(&before, applied.clone(), true).unwrap();
            let between = EntrySet { revision: 2, entries: after(&before, &first) };
            let second = apply(&between, applied, true).unwrap();
            prop_assert!(second.iter().all(|change| matches!(change, Change::Unchanged(_))));
        }
    }
}
