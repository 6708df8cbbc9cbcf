//! Whose request is worked on next: a few at a time, in turn between cgroups, and within a cgroup
//! in turn between users.
//!
//! Without turns the runtime works on requests as they come, so a user with a hundred in flight
//! gets a hundred times the processor of one with a single request. With them, who asks rarely
//! waits for the requests that are being worked on, and for none of a flood's queue.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Key;
use super::key::Group;

/// What takes longer waits for something else than the processor (a disk, an entry that is
/// to come, a digest), and lets the next one begin.
const TURN_LIMIT: Duration = Duration::from_millis(5);

/// The turns, and who waits for one. As many wait as requests are in flight.
#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    at_a_time: usize,
    /// Whose turn it is, and since when.
    running: Vec<(u64, Instant)>,
    next_number: u64,
    rota: Rota<Waiting>,
    /// Whether a task sees to it that turns end in time. Without anybody in line it is the same when they end, and a
    /// timer for each would cost a request more than its turn does.
    is_watched: bool,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    begins: oneshot::Sender<Turn>,
}

/// Leave to work; passed on when dropped, or when its time is over.
#[derive(Debug)]
struct Turn {
    turns: Arc<Turns>,
    number: u64,
}

/// A place in the queue; left when dropped.
struct InLine<'a> {
    turns: &'a Turns,
    key: &'a Key,
    number: u64,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Lets one more begin, if there is room: whose time is over makes room.
    fn begin(&mut self, now: Instant) -> Option<u64> {
        if self.running.len() >= self.at_a_time {
            self.running.retain(|(_, began)| now.duration_since(*began) < TURN_LIMIT);
        }
        if self.running.len() >= self.at_a_time {
            return None;
        }
        let number = self.number();
        self.running.push((number, now));
        Some(number)
    }

    /// When the first turn is over; none if there is nobody who waits for that.
    fn due(&self) -> Option<Instant> {
        let first = self.running.iter().map(|(_, began)| *began + TURN_LIMIT).min();
        first.filter(|_| !self.rota.is_empty())
    }
}

impl Turns {
    pub(super) fn new(at_a_time: usize) -> Self {
        let (at_a_time, rota) = (at_a_time.max(1), Rota::default());
        let state = State { at_a_time, running: Vec::new(), next_number: 0, rota, is_watched: false };
        Self { state: Mutex::new(state) }
    }

    /// Does `work` when it is the turn of `key`, which lasts until the work is done or has taken
    /// [`TURN_LIMIT`]. Gives back how long that was, and what was done.
    pub(super) async fn work<T>(self: &Arc<Self>, key: &Key, work: impl Future<Output = T>) -> (Duration, T) {
        let _turn = self.turn(key).await;
        let began = Instant::now();
        let done = work.await;
        (began.elapsed().min(TURN_LIMIT), done)
    }

    async fn turn(self: &Arc<Self>, key: &Key) -> Option<Turn> {
        let (begins, began) = oneshot::channel();
        let (number, was_watched) = {
            let mut state = self.lock();
            if state.rota.is_empty()
                && let Some(number) = state.begin(Instant::now())
            {
                return Some(Turn { turns: Arc::clone(self), number });
            }
            let number = state.number();
            state.rota.push(key, Waiting { number, begins });
            (number, std::mem::replace(&mut state.is_watched, true))
        };
        if !was_watched {
            tokio::spawn(Arc::clone(self).watch());
        }
        let _in_line = InLine { turns: self, key, number };
        // Only turns and their watch pass turns on, and each holds these alive: nobody waits in vain.
        began.await.ok()
    }

    /// Ends turns in time, for as long as somebody waits.
    async fn watch(self: Arc<Self>) {
        loop {
            let due = {
                let mut state = self.lock();
                let due = state.due();
                state.is_watched = due.is_some();
                due
            };
            let Some(due) = due else { return };
            sleep_until(due).await;
            self.pass_on();
        }
    }

    fn pass_on(self: &Arc<Self>) {
        while let Some((number, next)) = self.next() {
            // If that one has just gone away, its turn ends as it is dropped here.
            let _ = next.begins.send(Turn { turns: Arc::clone(self), number });
        }
    }

    fn next(&self) -> Option<(u64, Waiting)> {
        let mut state = self.lock();
        if state.rota.is_empty() {
            return None;
        }
        let number = state.begin(Instant::now())?;
        state.rota.pop().map(|next| (number, next))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().running.retain(|(number, _)| *number != self.number);
        self.turns.pass_on();
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.turns.lock().rota.remove(self.key, |waiting| waiting.number == self.number);
    }
}

/// A queue for each user in each cgroup.
#[derive(Debug)]
struct Rota<T> {
    groups: VecDeque<(Group, Users<T>)>,
}

/// The queues of one cgroup.
type Users<T> = VecDeque<(u32, VecDeque<T>)>;

impl<T> Default for Rota<T> {
    fn default() -> Self {
        Self { groups: VecDeque::new() }
    }
}

impl<T> Rota<T> {
    fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn push(&mut self, key: &Key, item: T) {
        queue_of(queue_of(&mut self.groups, &key.group()), &key.uid()).push_back(item);
    }

    /// The next one. Its cgroup, and its user within that, stand last then.
    fn pop(&mut self) -> Option<T> {
        let (group, mut users) = self.groups.pop_front()?;
        let (uid, mut items) = users.pop_front()?;
        let item = items.pop_front();
        if !items.is_empty() {
            users.push_back((uid, items));
        }
        if !users.is_empty() {
            self.groups.push_back((group, users));
        }
        item
    }

    /// Takes out whoever goes away before its turn; no queue is left empty.
    fn remove(&mut self, key: &Key, is_meant: impl Fn(&T) -> bool) {
        let group = key.group();
        let Some((_, users)) = self.groups.iter_mut().find(|(name, _)| *name == group) else { return };
        if let Some((_, items)) = users.iter_mut().find(|(uid, _)| *uid == key.uid()) {
            items.retain(|item| !is_meant(item));
        }
        users.retain(|(_, items)| !items.is_empty());
        self.groups.retain(|(_, users)| !users.is_empty());
    }
}

/// The queue of `name`, which is last in line if it is new.
fn queue_of<'a, K: Clone + PartialEq, Q: Default>(queues: &'a mut VecDeque<(K, Q)>, name: &K) -> &'a mut Q {
    let at = queues.iter().position(|(known, _)| known == name).unwrap_or(queues.len());
    if at == queues.len() {
        queues.push_back((name.clone(), Q::default()));
    }
    &mut queues[at].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::key;

    #[test]
    fn turns_go_around_between_cgroups_and_then_between_users() {
        let mut rota = Rota::default();
        for number in 0..4 {
            rota.push(&key(1, "/flood"), format!("flood 1 {number}"));
            rota.push(&key(2, "/flood"), format!("flood 2 {number}"));
        }
        rota.push(&key(1, "/other"), "other".to_owned());
        rota.push(&key(7, ""), "alone".to_owned());
        let order: Vec<_> = std::iter::from_fn(|| rota.pop()).collect();
        assert_eq!(order[..5], ["flood 1 0", "other", "alone", "flood 2 0", "flood 1 1"]);
        assert_eq!(order.len(), 10);
        assert!(rota.groups.is_empty());
    }

    /// One turn, held; a flood of one user in line; then somebody else.
    #[tokio::test(start_paused = true)]
    async fn who_asks_once_is_before_the_backlog_of_a_flood() {
        let turns = Arc::new(Turns::new(1));
        let held = turns.turn(&key(1, "")).await;
        let (ended, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (uid, number) in (0..50).map(|number| (1, number)).chain([(2, 0)]) {
            let (turns, ended) = (Arc::clone(&turns), ended.clone());
            tokio::spawn(async move {
                turns.work(&key(uid, ""), async { ended.send((uid, number)) }).await.1.unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut first = Vec::new();
        for _ in 0..3 {
            first.push(order.recv().await.unwrap());
        }
        assert_eq!(first, [(1, 0), (2, 0), (1, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_waits_for_something_else_lets_the_next_begin() {
        let turns = Arc::new(Turns::new(1));
        let held = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.work(&key(1, ""), std::future::pending::<()>()).await }
        });
        tokio::task::yield_now().await;
        turns.work(&key(2, ""), async {}).await;
        assert!(!held.is_finished());
        assert!(turns.lock().running.is_empty());
        held.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_whose_time_is_over_is_one_nobody_has_any_more() {
        let turns = Arc::new(Turns::new(1));
        let first = turns.turn(&key(1, "")).await;
        let second = turns.turn(&key(2, "")).await;
        assert_eq!(turns.lock().running.len(), 1, "the first one's was over");
        drop(first);
        assert_eq!(turns.lock().running.len(), 1, "and its end takes nothing from the second");
        drop(second);
        assert!(turns.lock().running.is_empty());
        tokio::time::advance(TURN_LIMIT).await;
        assert!(!turns.lock().is_watched, "nobody waits");
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_line_and_takes_no_turn_along() {
        let turns = Arc::new(Turns::new(1));
        let held = turns.turn(&key(1, "")).await;
        let waits = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.work(&key(2, ""), async {}).await }
        });
        tokio::task::yield_now().await;
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        assert!(turns.lock().rota.groups.is_empty());
        drop(held);
        assert!(turns.lock().running.is_empty());
    }
}
