//! From a selector to the numbers of the entries that are filed under it, in eight bytes an entry.

use std::hash::{BuildHasher, RandomState};

use countersign_common::selector::SelectorRef;

use super::Number;

/// What stands for a selector; two of them may have the same.
pub(super) type Key = u32;

/// How selectors become keys: differently in each index, so that nobody can choose selectors that
/// have the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(RandomState);

impl Keys {
    /// What stands for `selector`.
    pub(super) fn of(&self, selector: SelectorRef<'_>) -> Key {
        (self.0.hash_one(selector) >> 32) as Key
    }
}

/// Numbers of entries, by the key of a selector.
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: Keys,
    /// Sorted.
    filed: Box<[(Key, Number)]>,
}

impl Index {
    /// An index of these numbers, each with what `keys` makes of its selector.
    pub(super) fn new(keys: Keys, mut filed: Vec<(Key, Number)>) -> Self {
        filed.sort_unstable();
        Self { keys, filed: filed.into() }
    }

    /// The numbers that are filed under `selector`; now and then there is one more, whose selector has
    /// the same key.
    pub(super) fn at(&self, selector: SelectorRef<'_>) -> impl Iterator<Item = Number> {
        let key = self.keys.of(selector);
        let begin = self.filed.partition_point(|(other, _)| *other < key);
        self.filed[begin..].iter().take_while(move |(other, _)| *other == key).map(|(_, number)| *number)
    }
}
