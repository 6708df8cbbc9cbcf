//! The selectors of an entry, in one piece of memory.

use std::collections::BTreeSet;
use std::fmt;

use super::{FIRST_LETTER, Selector, SelectorKind};
use crate::lines::Lines;

/// A set of selectors, in their order: one text, since an agent may keep a hundred thousand of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SelectorSet(Lines);

/// A selector of a set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SelectorRef<'a>(pub(super) &'a str);

impl SelectorSet {
    /// Each, in their order.
    pub fn iter(&self) -> impl Iterator<Item = SelectorRef<'_>> {
        // No value of a selector has a control character.
        self.0.iter().map(SelectorRef)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Selector> for SelectorSet {
    fn from_iter<I: IntoIterator<Item = Selector>>(selectors: I) -> Self {
        BTreeSet::from_iter(selectors).into()
    }
}

impl From<BTreeSet<Selector>> for SelectorSet {
    fn from(selectors: BTreeSet<Selector>) -> Self {
        Self(selectors.iter().map(|selector| &*selector.0).collect())
    }
}

impl<const N: usize> From<[Selector; N]> for SelectorSet {
    fn from(selectors: [Selector; N]) -> Self {
        Self::from_iter(selectors)
    }
}

impl<'a> SelectorRef<'a> {
    /// What kind of fact this is.
    pub fn kind(self) -> SelectorKind {
        SelectorKind::ALL[usize::from(self.0.as_bytes()[0] - FIRST_LETTER)]
    }

    /// The value, without type and key.
    pub fn value(self) -> &'a str {
        &self.0[1..]
    }

    /// Whether `selectors` has it.
    pub fn is_in(self, selectors: &BTreeSet<Selector>) -> bool {
        selectors.contains(self.0)
    }

    /// The same by itself.
    pub fn to_selector(self) -> Selector {
        Selector(self.0.into())
    }
}

impl fmt::Debug for SelectorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl fmt::Debug for SelectorRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SelectorRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.value())
    }
}
