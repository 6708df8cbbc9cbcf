//! Registration entries as a snapshot, indexed by selector; matching is pure.
//!
//! Each entry is filed under one of its selectors, its pivot: the one that the fewest
//! entries share, the digest of the binary only where there is nothing cheaper. To match
//! is to look up the caller's few selectors and to check the few entries found there, so
//! the cost does not grow with the number of entries.

mod publish;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use countersign_common::clock::Timestamp;
use countersign_common::entry::{Entry, EntryId, EntrySet};
use countersign_common::selector::{Selector, SelectorKind};

pub use publish::publish;

/// All entries of one revision, indexed.
#[derive(Debug, Default)]
pub struct Snapshot {
    revision: u64,
    /// Every entry once, under its pivot.
    by_pivot: HashMap<Selector, Vec<Arc<Entry>>>,
    /// Every entry once, under the kind of its pivot and the kinds of all its selectors.
    by_kinds: BTreeMap<SelectorKind, BTreeMap<Kinds, Vec<Arc<Entry>>>>,
}

/// The kinds of an entry's selectors.
type Kinds = BTreeSet<SelectorKind>;

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
    pub fn new(entries: &EntrySet) -> Self {
        let mut sharers: HashMap<&Selector, usize> = HashMap::new();
        for selector in entries.entries.iter().flat_map(|entry| &entry.selectors) {
            *sharers.entry(selector).or_default() += 1;
        }
        let mut snapshot = Self { revision: entries.revision, ..Self::default() };
        for entry in &entries.entries {
            // An entry without selectors would be everybody's; it is filed nowhere and never matches.
            let cost =
                |selector: &&Selector| (is_costly(selector.kind()), sharers.get(selector).copied().unwrap_or_default());
            if let Some(pivot) = entry.selectors.iter().min_by_key(cost) {
                snapshot.file(entry, pivot);
            }
        }
        snapshot
    }

    fn file(&mut self, entry: &Arc<Entry>, pivot: &Selector) {
        let kinds = entry.selectors.iter().map(Selector::kind).collect();
        self.by_pivot.entry(pivot.clone()).or_default().push(Arc::clone(entry));
        self.by_kinds.entry(pivot.kind()).or_default().entry(kinds).or_default().push(Arc::clone(entry));
    }

    /// The revision of the entries.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether this very entry, with these terms, is one of the entries.
    pub fn holds(&self, entry: &Entry) -> bool {
        let filed = entry.selectors.iter().filter_map(|selector| self.by_pivot.get(selector)).flatten();
        filed.into_iter().any(|other| **other == *entry)
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
        let possible =
            |entry: &Entry| entry.selectors.iter().all(|s| !told.contains(&s.kind()) || selectors.contains(s));
        let mut worth = Kinds::new();
        for entry in selectors.iter().filter_map(|selector| self.by_pivot.get(selector)).flatten() {
            let missing = || entry.selectors.iter().map(Selector::kind).filter(|kind| !told.contains(kind));
            if missing().any(|kind| !worth.contains(&kind)) && possible(entry) {
                worth.extend(missing());
            }
        }
        for (kinds, entries) in self.filed_under(|kind| !told.contains(&kind)) {
            let mut missing = kinds.difference(told).copied().peekable();
            if missing.peek().is_some() && (kinds.is_disjoint(told) || entries.iter().any(|entry| possible(entry))) {
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
        let looked_up = selectors.iter().filter_map(|selector| self.by_pivot.get(selector)).flatten();
        // Entries whose pivot could not be told are in no bucket that the caller's selectors lead to.
        let untold = self.filed_under(|kind| unavailable.contains(&kind)).flat_map(|(_, entries)| entries);
        let mut found = BTreeMap::new();
        for entry in looked_up.chain(untold).filter(|entry| is_in_force(entry, now)) {
            let mut missing = entry.selectors.iter().filter(|selector| !selectors.contains(selector)).peekable();
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
    fn filed_under(&self, wanted: impl Fn(SelectorKind) -> bool) -> impl Iterator<Item = (&Kinds, &Vec<Arc<Entry>>)> {
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
