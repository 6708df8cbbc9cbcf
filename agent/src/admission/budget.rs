//! How many bytes of executables may be hashed, for each cgroup and each user.
//!
//! What is spent comes back with time. A cgroup has the configured budget, as has a user whose
//! processes are in no cgroup; a user in several cgroups has [`USER_FACTOR`] budgets in all, so
//! that containers that run as the same user do not wait for each other's floods, and a user
//! with a thousand cgroups has not a thousand budgets.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Key;
use super::key::Group;
use crate::weakened::Protection;

/// How many budgets one user has in all its cgroups.
const USER_FACTOR: u64 = 4;

/// From how many spenders on those whose bytes have come back are looked for and forgotten.
const SPENDERS: usize = 256;

/// Bytes of executables that may be hashed.
#[derive(Clone, Copy, Debug)]
pub struct HashLimits {
    /// Bytes that may be hashed at once, after a pause.
    pub burst: u64,
    /// Bytes a second that come back.
    pub per_second: u64,
}

/// Nothing will be left in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "so many bytes of executables were hashed for this user or its cgroup that this one has to wait {wait:?}; \
     raise admission.hash_bytes or admission.hash_bytes_per_second if that is no flood"
)]
pub struct OverBudget {
    wait: Duration,
}

/// The budgets of all, and what was hashed in all.
#[derive(Debug)]
pub struct HashBudget {
    limits: HashLimits,
    spent: Mutex<Spent>,
    files: AtomicU64,
    bytes: AtomicU64,
}

/// Who has spent how much. There are as many spenders as bytes have not come back for: with
/// budgets of some size, a handful.
#[derive(Debug, Default)]
struct Spent {
    groups: HashMap<Group, Debt>,
    users: HashMap<u32, Debt>,
}

#[derive(Clone, Copy, Debug)]
struct Debt {
    bytes: u64,
    at: Instant,
}

impl HashBudget {
    /// Nothing is spent yet.
    pub fn new(limits: HashLimits) -> Self {
        let limits = HashLimits { burst: limits.burst.max(1), per_second: limits.per_second.max(1) };
        Self { limits, spent: Mutex::default(), files: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Waits until `key` could have `bytes` hashed; they are not taken yet.
    ///
    /// # Errors
    /// That is further away than `limit`.
    pub async fn wait(&self, key: &Key, bytes: u64, limit: Duration) -> Result<(), OverBudget> {
        loop {
            let wait = self.lock().wait(key, bytes, self.limits, Instant::now());
            if wait.is_zero() {
                return Ok(());
            }
            if wait > limit {
                return Err(OverBudget { wait });
            }
            sleep(wait).await;
        }
    }

    /// Takes `bytes`; false if somebody else was faster, and there is to wait again.
    pub fn take(&self, key: &Key, bytes: u64) -> bool {
        let (now, mut spent) = (Instant::now(), self.lock());
        let has = spent.wait(key, bytes, self.limits, now).is_zero();
        if has {
            spent.add(key, bytes, self.limits, now);
            self.files.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        has
    }

    /// Gives back what was taken and then not needed.
    pub fn give_back(&self, key: &Key, bytes: u64) {
        let mut spent = self.lock();
        let debts = [spent.groups.get_mut(&key.group())].into_iter().flatten();
        debts.for_each(|debt| debt.bytes = debt.bytes.saturating_sub(bytes));
        if let Some(debt) = spent.users.get_mut(&key.uid()) {
            debt.bytes = debt.bytes.saturating_sub(bytes);
        }
        self.files.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that `key` may have hashed at once, as of now.
    pub fn left(&self, key: &Key) -> u64 {
        self.lock().left(key, self.limits, Instant::now())
    }

    /// Files and bytes that were hashed since the start.
    pub fn hashed(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HashLimits {
    fn times(self, factor: u64) -> Self {
        Self { burst: self.burst.saturating_mul(factor), per_second: self.per_second.saturating_mul(factor) }
    }
}

impl Spent {
    /// How long until `bytes` are left. More than a whole budget has to wait for a whole budget,
    /// and leaves a debt.
    fn wait(&self, key: &Key, bytes: u64, limits: HashLimits, now: Instant) -> Duration {
        if Protection::HashBudget.is_out() {
            return Duration::ZERO;
        }
        let of_group = wait_of(self.groups.get(&key.group()), bytes, limits, now);
        let of_user = wait_of(self.users.get(&key.uid()), bytes, limits.times(USER_FACTOR), now);
        of_group.max(of_user)
    }

    fn add(&mut self, key: &Key, bytes: u64, limits: HashLimits, now: Instant) {
        let of_user = limits.times(USER_FACTOR);
        add_to(&mut self.groups, key.group(), bytes, limits, now);
        add_to(&mut self.users, key.uid(), bytes, of_user, now);
    }

    fn left(&self, key: &Key, limits: HashLimits, now: Instant) -> u64 {
        let left = |debt: Option<&Debt>, limits: HashLimits| limits.burst.saturating_sub(owed(debt, limits, now));
        let of_group = left(self.groups.get(&key.group()), limits);
        of_group.min(left(self.users.get(&key.uid()), limits.times(USER_FACTOR)))
    }
}

fn owed(debt: Option<&Debt>, limits: HashLimits, now: Instant) -> u64 {
    debt.map_or(0, |debt| {
        let back = now.saturating_duration_since(debt.at).as_nanos() * u128::from(limits.per_second) / 1_000_000_000;
        debt.bytes.saturating_sub(u64::try_from(back).unwrap_or(u64::MAX))
    })
}

fn wait_of(debt: Option<&Debt>, bytes: u64, limits: HashLimits, now: Instant) -> Duration {
    let missing = owed(debt, limits, now).saturating_add(bytes.min(limits.burst)).saturating_sub(limits.burst);
    let nanoseconds = (u128::from(missing) * 1_000_000_000).div_ceil(u128::from(limits.per_second));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

fn add_to<K: Hash + Eq>(debts: &mut HashMap<K, Debt>, spender: K, bytes: u64, limits: HashLimits, now: Instant) {
    if debts.len() >= SPENDERS {
        debts.retain(|_, debt| owed(Some(debt), limits, now) > 0);
    }
    let debt = debts.entry(spender).or_insert(Debt { bytes: 0, at: now });
    *debt = Debt { bytes: owed(Some(debt), limits, now).saturating_add(bytes), at: now };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::key;

    const LIMITS: HashLimits = HashLimits { burst: 100, per_second: 10 };
    const AGES: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn who_has_spent_its_budget_waits_and_others_do_not() {
        let budget = HashBudget::new(LIMITS);
        let flooder = key(1, "/a");
        assert!(budget.take(&flooder, 60) && !budget.take(&flooder, 60));
        assert!(budget.take(&key(2, "/b"), 100), "another one");
        assert!(budget.take(&key(1, "/c"), 100), "the same user in another container");
        assert_eq!(budget.left(&flooder), 40);
        let begin = Instant::now();
        budget.wait(&flooder, 60, AGES).await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), 2);
        assert!(budget.take(&flooder, 60));
        assert_eq!(budget.hashed(), (4, 320));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_too_long_is_told_at_once() {
        let budget = HashBudget::new(LIMITS);
        assert!(budget.take(&key(1, ""), 100));
        let over = budget.wait(&key(1, ""), 50, Duration::from_secs(4)).await.unwrap_err();
        assert_eq!(over.wait, Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_beyond_the_budget_needs_a_whole_one_and_leaves_a_debt() {
        let budget = HashBudget::new(LIMITS);
        assert!(budget.take(&key(1, ""), 1000));
        let begin = Instant::now();
        budget.wait(&key(1, ""), 1, AGES).await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), 90);
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_with_many_cgroups_and_a_cgroup_with_many_users_have_a_bound() {
        let budget = HashBudget::new(LIMITS);
        let taken = (0..50).filter(|cgroup| budget.take(&key(1, &format!("/{cgroup}")), 100)).count();
        assert_eq!(taken, 4);
        let taken = (10..50).filter(|uid| budget.take(&key(*uid, "/one"), 100)).count();
        assert_eq!(taken, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_back_was_not_spent_and_who_owes_nothing_is_forgotten() {
        let budget = HashBudget::new(LIMITS);
        assert!(budget.take(&key(1, ""), 100));
        budget.give_back(&key(1, ""), 100);
        assert_eq!((budget.left(&key(1, "")), budget.hashed()), (100, (0, 0)));
        for uid in 0..10_000 {
            assert!(budget.take(&key(uid, ""), 1));
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        assert!(budget.lock().users.len() <= SPENDERS);
    }
}
