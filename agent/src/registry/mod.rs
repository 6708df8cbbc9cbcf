//! Registration entries as a snapshot, indexed by selector; matching is pure.
//!
//! Each entry is filed under one of its selectors, its pivot: the one that the fewest
//! entries share, the digest of the binary only where there is nothing cheaper. To match
//! is to look up the caller's few selectors and to check the few entries found there, so
//! the cost hardly grows with the number of entries.

mod index;
mod publish;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use countersign_common::clock::Timestamp;
use countersign_common::entry::{Entry, EntryId, EntrySet};
use countersign_common::selector::{Selector, SelectorKind, SelectorRef};

use self::index::{Index, Key, Keys};
pub use publish::publish;

/// All entries of one revision, indexed.
#[derive(Debug, Default)]
pub struct Snapshot {
    set: Arc<EntrySet>,
    /// Every entry once, under its pivot.
    by_pivot: Index,
    /// Every entry once, under the kind of its pivot and the kinds of all its selectors.
    by_kinds: BTreeMap<SelectorKind, BTreeMap<Kinds, Vec<Number>>>,
}

/// The kinds of an entry's selectors.
type Kinds = BTreeSet<SelectorKind>;

/// Where an entry stands in the set.
type Number = u32;

/// Which entries hold for a set of selectors.
#[derive(Debug, Default)]
pub struct Matches {
    /// All of whose selectors hold, in the order of their ids.
    pub entries: Vec<Arc<Entry>>,
    /// All of whose selectors hold but for kinds that could not be told, in the order of their ids.
    pub undecided: Vec<EntryId>,
}

impl Snapshot {
    /// Indexes a set of entries.
    pub fn new(entries: &Arc<EntrySet>) -> Self {
        let keys = Keys::default();
        let mut sharers: HashMap<Key, u32> = HashMap::new();
        for selector in entries.entries.iter().flat_map(|entry| entry.selectors.iter()) {
            *sharers.entry(keys.of(selector)).or_default() += 1;
        }
        let cost = |selector: &SelectorRef<'_>| (is_costly(selector.kind()), sharers.get(&keys.of(*selector)).copied());
        let mut filed = Vec::with_capacity(entries.entries.len());
        let mut by_kinds = BTreeMap::<SelectorKind, BTreeMap<Kinds, Vec<Number>>>::new();
        for (number, entry) in (0..).zip(&entries.entries) {
            // An entry without selectors would be everybody's; it is filed nowhere and never matches.
            if let Some(pivot) = entry.selectors.iter().min_by_key(cost) {
                filed.push((keys.of(pivot), number));
                let kinds = entry.selectors.iter().map(SelectorRef::kind).collect();
                by_kinds.entry(pivot.kind()).or_default().entry(kinds).or_default().push(number);
            }
        }
        by_kinds.values_mut().flat_map(BTreeMap::values_mut).for_each(Vec::shrink_to_fit);
        Self { set: Arc::clone(entries), by_pivot: Index::new(keys, filed), by_kinds }
    }

    /// The revision of the entries.
    pub fn revision(&self) -> u64 {
        self.set.revision
    }

    /// Whether this very entry, with these terms, is one of the entries.
    pub fn holds(&self, entry: &Entry) -> bool {
        entry.selectors.iter().flat_map(|selector| self.filed_at(selector)).any(|other| **other == *entry)
    }

    /// The entries whose pivot is `selector`, and seldom another one.
    fn filed_at(&self, selector: SelectorRef<'_>) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries(self.by_pivot.at(selector))
    }

    fn entries(&self, numbers: impl IntoIterator<Item = Number>) -> impl Iterator<Item = &Arc<Entry>> {
        numbers.into_iter().filter_map(|number| self.set.entries.get(number as usize))
    }

    /// Which kinds outside `told` are worth finding out: those of entries whose selectors
    /// of kinds in `told` all hold. Keeps the hash of a binary uncomputed until an entry turns on it.
    ///
    /// An entry past its `expires` still counts: the answer may cost work, never an identity.
    pub fn worth_telling(
        &self,
        selectors: &BTreeSet<Selector>,
        told: &BTreeSet<SelectorKind>,
    ) -> BTreeSet<SelectorKind> {
        let possible = |entry: &Entry| entry.selectors.iter().all(|s| !told.contains(&s.kind()) || s.is_in(selectors));
        let mut worth = Kinds::new();
        for entry in selectors.iter().flat_map(|selector| self.filed_at(selector.by_ref())) {
            let missing = || entry.selectors.iter().map(SelectorRef::kind).filter(|kind| !told.contains(kind));
            if missing().any(|kind| !worth.contains(&kind)) && possible(entry) {
                worth.extend(missing());
            }
        }
        for (kinds, numbers) in self.filed_under(|kind| !told.contains(&kind)) {
            let mut missing = kinds.difference(told).copied().peekable();
            let mut entries = self.entries(numbers.iter().copied());
            if missing.peek().is_some() && (kinds.is_disjoint(told) || entries.any(|entry| possible(entry))) {
                worth.extend(missing);
            }
        }
        worth
    }

    /// Matches; an entry past its `expires` never does.
    ///
    /// A selector in `selectors` holds even if its kind is in `unavailable`: what was told was told.
    pub fn matches(
        &self,
        selectors: &BTreeSet<Selector>,
        unavailable: &BTreeSet<SelectorKind>,
        now: Timestamp,
    ) -> Matches {
        let looked_up = selectors.iter().flat_map(|selector| self.filed_at(selector.by_ref()));
        // Entries whose pivot could not be told are in no bucket that the caller's selectors lead to.
        let untold =
            self.filed_under(|kind| unavailable.contains(&kind)).flat_map(|(_, numbers)| numbers.iter().copied());
        let mut found = BTreeMap::new();
        for entry in looked_up.chain(self.entries(untold)).filter(|entry| is_in_force(entry, now)) {
            let mut missing = entry.selectors.iter().filter(|selector| !selector.is_in(selectors)).peekable();
            let decided = missing.peek().is_none();
            if missing.all(|selector| unavailable.contains(&selector.kind())) {
                found.insert(&entry.id, (entry, decided));
            }
        }
        let mut matches = Matches::default();
        for (id, (entry, decided)) in found {
            if decided {
                matches.entries.push(Arc::clone(entry));
            } else {
                matches.undecided.push(id.clone());
            }
        }
        matches
    }

    /// The entries whose pivot is of a kind that `wanted` says, by the kinds of their selectors.
    fn filed_under(&self, wanted: impl Fn(SelectorKind) -> bool) -> impl Iterator<Item = (&Kinds, &Vec<Number>)> {
        self.by_kinds.iter().filter(move |(kind, _)| wanted(**kind)).flat_map(|(_, by_kinds)| by_kinds)
    }
}

/// Whether telling a selector of this kind costs so much that it is told only on demand.
fn is_costly(kind: SelectorKind) -> bool {
    matches!(kind, SelectorKind::UnixSha256 | SelectorKind::ProcessParentSha256)
}

/// Whether the entry grants anything at `now`.
pub fn is_in_force(entry: &Entry, now: Timestamp) -> bool {
    entry.expires.is_none_or(|day| now < day.begins())
}
