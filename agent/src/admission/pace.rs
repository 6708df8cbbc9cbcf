//! How much of the agent's time one unit, container or user may have while others ask too. Pure
//! accounting.
//!
//! Turns decide whose request is next, and that is not enough: a flood keeps all processors busy,
//! with its own half of each call and with ours, and then each step of a rare caller's request
//! waits until the kernel's scheduler takes a processor away from the flood, some milliseconds.
//! So as long as more than one asks, what one may take is bounded, and some of the processors is
//! left free for who comes next. Who asks alone is not held back.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Key;
use super::key::Group;

/// For how long after its last request somebody counts as one who asks.
const SHARED_FOR: Duration = Duration::from_secs(10);

/// One may have this part of the processors' time.
const PART: u32 = 8;

/// The work of requests that may come at once: that of a program that starts.
const BURST: Duration = Duration::from_millis(50);

/// The work of a request, as long as nothing is known of its caller's.
const FIRST_GUESS: Duration = Duration::from_millis(1);

/// The work of a request outside of its turn: HTTP/2.
const AROUND: Duration = Duration::from_micros(50);

/// How many are told apart; all others share what one may have.
const MAX_GROUPS: usize = 256;

/// The work of taking a connection up: its process held, its cgroup read, HTTP/2 set up.
const CONNECTION: Duration = Duration::from_micros(400);

/// What each of those who ask has taken.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time until work has been paid for is the work times this.
    stretch: f64,
    /// Who made the last request, and who made the last one before that was another.
    lately: [Option<(Key, Instant)>; 2],
    groups: HashMap<Group, Account>,
    others: Account,
}

/// What one has taken.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// What it was given until now has been paid for by then.
    paid_at: Option<Instant>,
    /// The work of one of its requests, on average.
    work: Duration,
}

/// What somebody has to wait for who has taken more than its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// When it may be worked on.
    pub(super) begins: Instant,
    /// What it was put down for, in time until that is paid for.
    pub(super) price: Duration,
}

impl Default for Account {
    fn default() -> Self {
        Self { paid_at: None, work: FIRST_GUESS }
    }
}

impl Pace {
    pub(super) fn new(processors: usize) -> Self {
        let stretch = f64::from(PART) / processors.max(1) as f64;
        Self { stretch, lately: [None, None], groups: HashMap::new(), others: Account::default() }
    }

    /// Notes a request of `key`; gives back when it may be worked on, if not now.
    pub(super) fn ask(&mut self, key: &Key, now: Instant) -> Option<Wait> {
        let group = key.group();
        if self.lately[0].as_ref().is_none_or(|(last, _)| last.group() != group) {
            self.lately.swap(0, 1);
        }
        self.lately[0] = Some((key.clone(), now));
        let is_shared = self.lately[1].as_ref().is_some_and(|(_, at)| is_lately(*at, now));
        let work = self.account(&group, now).work;
        self.charge(&group, work, is_shared, now)
    }

    /// Notes a connection of a user, in whichever cgroup; gives back when it may be taken up, if
    /// not now.
    pub(super) fn connect(&mut self, uid: u32, now: Instant) -> Option<Wait> {
        let of_others = |(key, at): &(Key, Instant)| key.uid() != uid && is_lately(*at, now);
        let is_shared = self.lately.iter().flatten().any(of_others);
        self.charge(&Group::User(uid), CONNECTION, is_shared, now)
    }

    /// Notes how long a request of `key` was worked on.
    pub(super) fn worked(&mut self, key: &Key, took: Duration, now: Instant) {
        let account = self.account(&key.group(), now);
        account.work = (account.work * 7 + took + AROUND) / 8;
    }

    /// Notes that a request of `key` is not worked on after all. Otherwise who takes back what it has asked for would
    /// come to owe time without end, and with it everybody else of the same user or unit.
    pub(super) fn take_back(&mut self, key: &Key, price: Duration, now: Instant) {
        let account = self.account(&key.group(), now);
        account.paid_at = account.paid_at.and_then(|paid| paid.checked_sub(price));
    }

    fn charge(&mut self, group: &Group, work: Duration, is_shared: bool, now: Instant) -> Option<Wait> {
        let (stretch, full) = (self.stretch, self.full(now));
        let account = self.account(group, now);
        if !is_shared {
            account.paid_at = None;
            return None;
        }
        let begins = account.paid_at.map_or(full, |paid| paid.max(full));
        let price = work.mul_f64(stretch);
        account.paid_at = Some(begins + price);
        (begins > now).then_some(Wait { begins, price })
    }

    /// Who had paid for everything by then may have a whole burst.
    fn full(&self, now: Instant) -> Instant {
        now.checked_sub(BURST.mul_f64(self.stretch)).unwrap_or(now)
    }

    fn account(&mut self, group: &Group, now: Instant) -> &mut Account {
        if !self.groups.contains_key(group) && self.groups.len() >= MAX_GROUPS {
            let full = self.full(now);
            self.groups.retain(|_, account| account.paid_at.is_some_and(|at| at > full));
        }
        if self.groups.contains_key(group) || self.groups.len() < MAX_GROUPS {
            return self.groups.entry(group.clone()).or_default();
        }
        &mut self.others
    }
}

fn is_lately(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < SHARED_FOR
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::key;

    /// How many requests of `key` may be worked on in `time` if they come as fast as they may.
    fn requests(pace: &mut Pace, key: &Key, start: Instant, time: Duration) -> u32 {
        let mut count = 0;
        let mut now = start;
        while now < start + time && count < 1_000_000 {
            now = pace.ask(key, now).map_or(now, |wait| wait.begins);
            count += 1;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_alone_is_not_held_back() {
        let (mut pace, now) = (Pace::new(2), Instant::now());
        for _ in 0..100_000 {
            assert_eq!(pace.ask(&key(1, "/a"), now), None);
        }
        assert_eq!(pace.connect(1, now), None, "its own connections are nobody else's");
        pace.ask(&key(2, ""), now);
        assert_eq!(pace.ask(&key(1, "/a"), now + SHARED_FOR), None, "the other has been quiet since");
    }

    #[tokio::test(start_paused = true)]
    async fn beside_another_one_has_a_part_of_the_processors_and_the_other_does_not_wait() {
        let (mut pace, start) = (Pace::new(2), Instant::now());
        let (flood, other) = (key(1, ""), key(2, "/b"));
        assert_eq!(pace.ask(&other, start), None);
        // Its work is taken to be a millisecond: a quarter of one processor, and a burst at first.
        let count = requests(&mut pace, &flood, start, Duration::from_secs(4));
        assert_eq!(count, 1000 + 50 + 1);
        assert_eq!(pace.ask(&other, start + Duration::from_secs(4)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn costly_requests_are_paid_for_by_who_makes_them() {
        let (mut pace, start) = (Pace::new(8), Instant::now());
        let (cheap, costly) = (key(1, "/a"), key(2, "/b"));
        for _ in 0..100 {
            pace.worked(&cheap, Duration::from_micros(100), start);
            pace.worked(&costly, Duration::from_millis(5), start);
        }
        pace.ask(&cheap, start);
        let costly_ones = requests(&mut pace, &costly, start, Duration::from_secs(1));
        pace.ask(&costly, start);
        let cheap_ones = requests(&mut pace, &cheap, start, Duration::from_secs(1));
        assert!(cheap_ones > 15 * costly_ones, "{cheap_ones} {costly_ones}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_connections_is_held_back_while_another_user_asks() {
        let (mut pace, start) = (Pace::new(2), Instant::now());
        pace.ask(&key(2, ""), start);
        let at_once = (0..10_000).take_while(|_| pace.connect(1, start).is_none()).count();
        assert_eq!(at_once, 126);
        assert_eq!(pace.connect(2, start), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_back_is_not_owed() {
        let (mut pace, now) = (Pace::new(2), Instant::now());
        let (flood, other) = (key(1, "/a"), key(2, "/b"));
        pace.ask(&other, now);
        while pace.ask(&flood, now).is_none() {}
        let wait = pace.ask(&flood, now).unwrap();
        for _ in 0..10_000 {
            let taken_back = pace.ask(&flood, now).unwrap();
            pace.take_back(&flood, taken_back.price, now);
        }
        assert_eq!(pace.ask(&flood, now).unwrap().begins, wait.begins + wait.price);
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_of_users_share_what_is_left() {
        let (mut pace, now) = (Pace::new(2), Instant::now());
        pace.ask(&key(0, "/a"), now);
        let waits = (1..10_000).filter(|uid| pace.ask(&key(*uid, ""), now).is_some()).count();
        assert!(pace.groups.len() <= MAX_GROUPS && waits > 9_000, "{waits}");
    }
}
