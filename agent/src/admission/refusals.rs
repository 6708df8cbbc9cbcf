//! What comes of refusals. Pure accounting.
//!
//! Told is the first of a key at once, then one summary an interval: whoever floods the agent
//! must not flood its audit record too. And since a refusal costs the agent something as well,
//! what a key sends is read slowly as long as its requests are refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Key, Kind};

/// At most one record of a key in this time.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// For how long after a refused request its key is read slowly.
const SLOW_FOR: Duration = Duration::from_secs(1);

/// The time between two reads of all connections of a key that is read slowly. A read brings some
/// eighty requests at most, so that refusing costs a small part of one processor.
const SLOW_READS: Duration = Duration::from_millis(20);

/// How many keys are told apart; the refusals of others are told together.
const MAX_KEYS: usize = 256;

/// Who was refused, and what of it was told.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    keys: HashMap<Key, Tally>,
    others: Option<Tally>,
    totals: Counts,
}

/// Refusals by kind of place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts([u64; 3]);

#[derive(Debug)]
struct Tally {
    told_at: Instant,
    untold: Counts,
    /// Since this tally was begun.
    sum: u64,
    /// The last who was refused.
    last: (Key, i32),
    /// When a request was refused last.
    request_at: Option<Instant>,
    /// When the next of its connections may be read.
    next_read: Instant,
}

/// Something to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// Who was refused; the last of them, if they are not told apart.
    pub(super) key: Key,
    /// The last process.
    pub(super) pid: i32,
    /// How often, since it was told last.
    pub(super) counts: Counts,
    /// Whether these are refusals of one key.
    pub(super) of_one: bool,
}

impl Refusals {
    /// Counts a refusal; gives back what is to be told now.
    pub(super) fn note(&mut self, key: &Key, pid: i32, kind: Kind, now: Instant) -> Option<News> {
        self.totals.add(kind);
        let is_told_apart = self.keys.contains_key(key) || self.keys.len() < MAX_KEYS;
        if is_told_apart && !self.keys.contains_key(key) {
            let mut first = Tally::of(key, pid, now);
            first.count(key, pid, kind, now);
            let news = first.tell(true, now);
            self.keys.insert(key.clone(), first);
            return Some(news);
        }
        let tally = if is_told_apart {
            self.keys.get_mut(key)?
        } else {
            self.others.get_or_insert_with(|| Tally::of(key, pid, now))
        };
        tally.count(key, pid, kind, now);
        tally.is_due(now).then(|| tally.tell(is_told_apart, now))
    }

    /// When a connection of `key` may be read next, if not now. Each answer is one read: the
    /// connections of a key are read one after another.
    pub(super) fn next_read(&mut self, key: &Key, now: Instant) -> Option<Instant> {
        let tally = self.keys.get_mut(key).or(self.others.as_mut())?;
        if now.saturating_duration_since(tally.request_at?) >= SLOW_FOR {
            return None;
        }
        let at = tally.next_read.max(now);
        tally.next_read = at + SLOW_READS;
        (at > now).then_some(at)
    }

    /// What is to be told of those who have been quiet since; forgets who has been quiet for an
    /// interval. `all` tells everything, as at the end.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<News> {
        let mut news = Vec::new();
        let tell = |tally: &mut Tally, of_one| {
            let is_due = all || tally.is_due(now);
            (is_due && tally.untold != Counts::default()).then(|| tally.tell(of_one, now))
        };
        news.extend(self.keys.values_mut().filter_map(|tally| tell(tally, true)));
        news.extend(self.others.iter_mut().filter_map(|tally| tell(tally, false)));
        self.keys.retain(|_, tally| !tally.is_due(now));
        self.others.take_if(|tally| tally.is_due(now));
        news
    }

    /// Refusals of a kind since the start.
    pub(super) fn total(&self, kind: Kind) -> u64 {
        self.totals.of(kind)
    }

    /// Everybody who was refused lately, and how often.
    pub(super) fn by_key(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.keys.iter().map(|(key, tally)| (key, tally.sum))
    }
}

impl Tally {
    fn of(key: &Key, pid: i32, now: Instant) -> Self {
        Self {
            told_at: now,
            untold: Counts::default(),
            sum: 0,
            last: (key.clone(), pid),
            request_at: None,
            next_read: now,
        }
    }

    fn count(&mut self, key: &Key, pid: i32, kind: Kind, now: Instant) {
        if kind == Kind::Request {
            self.request_at = Some(now);
        }
        self.untold.add(kind);
        self.sum += 1;
        self.last = (key.clone(), pid);
    }

    fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.told_at) >= INTERVAL
    }

    fn tell(&mut self, of_one: bool, now: Instant) -> News {
        self.told_at = now;
        let (key, pid) = self.last.clone();
        News { key, pid, counts: std::mem::take(&mut self.untold), of_one }
    }
}

impl Counts {
    fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    pub(super) fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }
}

impl News {
    /// For operators: what was refused and why, and what to do.
    pub(super) fn reason(&self) -> String {
        let counted = Kind::ALL.into_iter().map(|kind| (self.counts.of(kind), kind.name()));
        let counted = counted.filter(|(count, _)| *count > 0);
        let counted: Vec<_> =
            counted.map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" })).collect();
        let who = match (self.of_one, self.key.cgroup()) {
            (false, _) => "users and cgroups, too many to be told apart, hold their".to_owned(),
            (true, None) => format!("user {} holds its", self.key.uid()),
            (true, Some(cgroup)) => format!("user {} or cgroup {cgroup} holds its", self.key.uid()),
        };
        format!("{} refused: {who} share of the agent's places; see countersign status", counted.join(", "))
    }
}

/// The cgroup of a record.
impl News {
    pub(super) fn cgroup(&self) -> Option<String> {
        self.key.cgroup().map(Arc::as_ref).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::key;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_once_and_then_in_sums() {
        let (mut refusals, flooder) = (Refusals::default(), key(61002, "/a"));
        let first = refusals.note(&flooder, 7, Kind::Connection, Instant::now()).unwrap();
        assert_eq!(
            first.reason(),
            "1 connection refused: user 61002 or cgroup /a holds its share of the agent's places; see countersign status"
        );
        for _ in 0..1000 {
            assert_eq!(refusals.note(&flooder, 8, Kind::Request, Instant::now()), None);
        }
        assert!(refusals.note(&key(5, ""), 9, Kind::Stream, Instant::now()).is_some(), "another one");
        tokio::time::advance(INTERVAL).await;
        let sum = refusals.note(&flooder, 8, Kind::Request, Instant::now()).unwrap();
        assert!(sum.reason().starts_with("1001 requests refused: "), "{}", sum.reason());
        assert_eq!((refusals.total(Kind::Connection), refusals.total(Kind::Request)), (1, 1001));
        assert_eq!(refusals.by_key().find(|(key, _)| **key == flooder).unwrap().1, 1002);
    }

    #[tokio::test(start_paused = true)]
    async fn whose_requests_are_refused_is_read_slowly_for_a_while() {
        let (mut refusals, flooder, start) = (Refusals::default(), key(1, ""), Instant::now());
        refusals.note(&flooder, 7, Kind::Connection, start);
        assert_eq!(refusals.next_read(&flooder, start), None, "no request was refused");
        refusals.note(&flooder, 7, Kind::Request, start);
        let reads = [(); 3].map(|()| refusals.next_read(&flooder, start));
        assert_eq!(reads, [None, Some(start + SLOW_READS), Some(start + 2 * SLOW_READS)]);
        assert_eq!(refusals.next_read(&key(2, ""), start), None, "another one");
        assert_eq!(refusals.next_read(&flooder, start + SLOW_FOR), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_told_when_it_is_quiet_and_then_forgotten() {
        let mut refusals = Refusals::default();
        for _ in 0..3 {
            refusals.note(&key(1, ""), 7, Kind::Connection, Instant::now());
        }
        assert_eq!(refusals.due(Instant::now(), false), []);
        tokio::time::advance(INTERVAL).await;
        let told = refusals.due(Instant::now(), false);
        assert_eq!((told.len(), told[0].counts.of(Kind::Connection)), (1, 2));
        assert_eq!(refusals.keys.len(), 1, "its interval begins anew");
        tokio::time::advance(INTERVAL).await;
        assert_eq!(refusals.due(Instant::now(), false), []);
        assert!(refusals.keys.is_empty());
        refusals.note(&key(1, ""), 7, Kind::Connection, Instant::now());
        refusals.note(&key(1, ""), 7, Kind::Connection, Instant::now());
        assert_eq!(refusals.due(Instant::now(), true).len(), 1, "at the end everything is told");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_users_are_not_a_thousand_records() {
        let mut refusals = Refusals::default();
        let told = |refusals: &mut Refusals| {
            let asking = (0..1000).filter_map(|uid| refusals.note(&key(uid, ""), 7, Kind::Connection, Instant::now()));
            asking.count()
        };
        assert_eq!(told(&mut refusals), MAX_KEYS);
        assert_eq!(told(&mut refusals), 0);
        tokio::time::advance(INTERVAL).await;
        let told = refusals.due(Instant::now(), false);
        assert_eq!(told.iter().filter(|news| !news.of_one).count(), 1);
        assert_eq!(told.len(), MAX_KEYS + 1);
    }
}
