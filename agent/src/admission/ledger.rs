//! Who holds how many places of one kind, and who may have one more. Pure accounting.
//!
//! # The rule
//!
//! A user, and a cgroup, may hold as many places as are free; a user in a cgroup may hold as many
//! as are then left to each of the two. So there is nothing to configure but the number of places:
//!
//! - one user, or one cgroup, holds at most half of all, however many cgroups or users it has;
//! - one user in one cgroup holds at most a quarter of all, so that containers that run as the
//!   same user leave each other room;
//! - each further flooder gets its share of what the ones before left, and whoever holds nothing
//!   is let in as long as there is one free place.
//!
//! The threshold follows the load (Choudhury and Hahne, "Dynamic queue length thresholds for
//! shared-memory packet switches", 1998): a quiet machine gives one workload much, a busy one less.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::Key;
use crate::weakened::Protection;

/// The places of one kind. Who holds none is forgotten, so there are never more holders
/// than places.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: usize,
    taken: usize,
    users: HashMap<u32, usize>,
    cgroups: HashMap<Arc<str>, usize>,
    keys: HashMap<Key, usize>,
}

impl Ledger {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, taken: 0, users: HashMap::new(), cgroups: HashMap::new(), keys: HashMap::new() }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// How many places `key` holds.
    pub(super) fn held(&self, key: &Key) -> usize {
        held(&self.keys, key)
    }

    /// Everybody who holds a place.
    pub(super) fn holders(&self) -> impl Iterator<Item = &Key> {
        self.keys.keys()
    }

    /// Takes a place; false if there is none for `key`.
    pub(super) fn take(&mut self, key: &Key) -> bool {
        let of_user = self.room(held(&self.users, &key.uid()));
        let of_cgroup = key.cgroup().map_or(usize::MAX, |cgroup| self.room(held(&self.cgroups, cgroup)));
        if self.held(key) >= of_user.min(of_cgroup) {
            return false;
        }
        self.taken += 1;
        *self.users.entry(key.uid()).or_default() += 1;
        if let Some(cgroup) = key.cgroup() {
            *self.cgroups.entry(Arc::clone(cgroup)).or_default() += 1;
        }
        *self.keys.entry(key.clone()).or_default() += 1;
        true
    }

    /// Gives a place back that `key` holds.
    pub(super) fn give_back(&mut self, key: &Key) {
        self.taken = self.taken.saturating_sub(1);
        one_less(&mut self.users, &key.uid());
        if let Some(cgroup) = key.cgroup() {
            one_less(&mut self.cgroups, cgroup);
        }
        one_less(&mut self.keys, key);
    }

    /// How many more places somebody may have who holds `held`, so that it holds no more in the
    /// end than are left for others.
    fn room(&self, held: usize) -> usize {
        let free = self.limit.saturating_sub(self.taken);
        if Protection::Admission.is_out() {
            return if free > 0 { usize::MAX } else { 0 };
        }
        free.saturating_sub(held).div_ceil(2)
    }
}

fn held<K: Hash + Eq>(counts: &HashMap<K, usize>, key: &K) -> usize {
    counts.get(key).copied().unwrap_or_default()
}

fn one_less<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admission::tests::key;

    /// As many places as are given.
    fn fill(ledger: &mut Ledger, key: &Key) -> usize {
        std::iter::repeat_with(|| ledger.take(key)).take_while(|taken| *taken).count()
    }

    #[test]
    fn one_flooder_gets_a_quarter_and_its_user_and_its_cgroup_a_half() {
        let mut ledger = Ledger::new(1024);
        assert_eq!(fill(&mut ledger, &key(1, "/a")), 256);
        assert_eq!(fill(&mut ledger, &key(1, "")), 128, "the same user elsewhere");
        for other in 2..500 {
            fill(&mut ledger, &key(other, "/a"));
        }
        assert!(ledger.taken() <= 1024 / 2 + 128, "a cgroup holds at most half: {}", ledger.taken());
        assert!(fill(&mut ledger, &key(501, "/b")) >= 64);
    }

    #[test]
    fn many_cgroups_of_one_user_are_one_user() {
        let mut ledger = Ledger::new(1024);
        for other in 0..2000 {
            fill(&mut ledger, &key(1, &format!("/{other}")));
        }
        assert_eq!(ledger.taken(), 512);
        assert!(!ledger.take(&Key::of_user(1)));
        assert!(ledger.take(&key(2, "/0")));
    }

    #[test]
    fn a_few_places_are_enough_to_be_let_in() {
        let mut ledger = Ledger::new(1);
        assert!(ledger.take(&key(1, "/a")) && !ledger.take(&key(2, "/b")));
        ledger.give_back(&key(1, "/a"));
        assert!(ledger.take(&key(2, "/b")));
    }

    proptest! {
        #[test]
        fn whatever_happens_newcomers_are_let_in_and_nobody_has_more_than_half(
            limit in 1_usize..200,
            steps in proptest::collection::vec((any::<bool>(), 0_u32..6, 0_u32..6), 0..600),
        ) {
            let mut ledger = Ledger::new(limit);
            let mut holding = Vec::new();
            for (gives_back, uid, cgroup) in steps {
                if gives_back && !holding.is_empty() {
                    let given: Key = holding.swap_remove((uid + 6 * cgroup) as usize % holding.len());
                    ledger.give_back(&given);
                } else {
                    let asking = key(uid, if cgroup == 0 { "" } else { "/c" });
                    let is_new = held(&ledger.users, &uid) == 0
                        && asking.cgroup().is_none_or(|cgroup| held(&ledger.cgroups, cgroup) == 0);
                    let taken = ledger.take(&asking);
                    prop_assert!(taken || !is_new || ledger.taken() == limit, "a newcomer was refused");
                    holding.extend(taken.then_some(asking));
                }
                prop_assert_eq!(ledger.taken(), holding.len());
                prop_assert!(holding.len() <= limit);
                let most = ledger.users.values().chain(ledger.cgroups.values()).max().copied().unwrap_or_default();
                prop_assert!(most <= limit.div_ceil(2));
            }
            holding.drain(..).for_each(|key| ledger.give_back(&key));
            prop_assert!(ledger.keys.is_empty() && ledger.users.is_empty() && ledger.cgroups.is_empty());
        }
    }
}
