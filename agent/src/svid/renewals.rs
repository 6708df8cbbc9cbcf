//! Who of the open streams is told next: a few at a time, and of those that wait the one that has
//! least time left. Ten thousand SVIDs that are due at once then take a part of the processors, and
//! requests the rest.
//!
//! As many wait as streams are open, of which admission allows a number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_common::clock::Timestamp;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// What takes longer waits for something else than the processor (a disk, a daemon), and lets
/// the next one begin.
const TURN_LIMIT: Duration = Duration::from_millis(5);

/// As many may take longer at once; further ones keep their turn until they are done.
const MAX_LINGERING: usize = 64;

/// The turns, and who waits for one.
#[derive(Debug)]
pub struct Renewals {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    lingering: usize,
    next_number: u64,
    /// By when it has to be done, then in the order of arrival.
    waiting: BTreeMap<(Timestamp, u64), oneshot::Sender<Turn>>,
}

/// Leave to work; passed on when dropped.
#[derive(Debug)]
pub struct Turn {
    renewals: Arc<Renewals>,
    lingers: bool,
}

/// A place in the queue; left when dropped.
struct InLine<'a> {
    renewals: &'a Renewals,
    place: (Timestamp, u64),
}

impl Renewals {
    /// Turns for half of the processors at a time, one at least.
    pub fn new(processors: usize) -> Arc<Self> {
        let free = (processors / 2).max(1);
        Arc::new(Self { state: Mutex::new(State { free, lingering: 0, next_number: 0, waiting: BTreeMap::new() }) })
    }

    /// Waits for a turn, with those first who have to be done by an earlier moment.
    pub async fn turn(self: &Arc<Self>, by: Timestamp) -> Turn {
        loop {
            let (begins, began) = oneshot::channel();
            let place = {
                let mut state = self.lock();
                if state.free > 0 {
                    state.free -= 1;
                    return Turn { renewals: Arc::clone(self), lingers: false };
                }
                state.next_number += 1;
                let place = (by, state.next_number);
                state.waiting.insert(place, begins);
                place
            };
            let _in_line = InLine { renewals: self, place };
            // Nobody is taken out of the line but with a turn, or by itself.
            if let Ok(turn) = began.await {
                return turn;
            }
        }
    }

    fn pass_on(self: &Arc<Self>) {
        let next = {
            let mut state = self.lock();
            let next = state.waiting.pop_first();
            state.free += usize::from(next.is_none());
            next
        };
        if let Some((_, begins)) = next {
            // If that one has just gone away, the turn comes back here as it is dropped.
            let _ = begins.send(Turn { renewals: Arc::clone(self), lingers: false });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Does `work` in this turn, which lasts until it is done or has taken 5 ms.
    pub async fn work<T>(mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(TURN_LIMIT) => self.linger(),
        }
        work.await
    }

    fn linger(&mut self) {
        let mut state = self.renewals.lock();
        if state.lingering == MAX_LINGERING {
            return;
        }
        state.lingering += 1;
        drop(state);
        self.lingers = true;
        self.renewals.pass_on();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.lingers {
            self.renewals.lock().lingering -= 1;
        } else {
            self.renewals.pass_on();
        }
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.renewals.lock().waiting.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn the_soonest_to_expire_goes_first_and_equals_in_their_order() {
        let renewals = Renewals::new(1);
        let held = renewals.turn(at(0)).await;
        let (ended, mut order) = mpsc::unbounded_channel();
        for (number, by) in [500, 300, 400, 100, 300, 200].into_iter().enumerate() {
            let (renewals, ended) = (Arc::clone(&renewals), ended.clone());
            tokio::spawn(async move {
                let turn = renewals.turn(at(by)).await;
                turn.work(async { ended.send((by, number)) }).await.unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut found = Vec::new();
        for _ in 0..6 {
            found.push(order.recv().await.unwrap());
        }
        assert_eq!(found, [(100, 3), (200, 5), (300, 1), (300, 4), (400, 2), (500, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_are_worked_on_at_a_time() {
        let renewals = Renewals::new(8);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(renewals.turn(at(0)).await);
        }
        let next = renewals.turn(at(0));
        tokio::pin!(next);
        let mut look = std::pin::pin!(tokio::time::timeout(Duration::from_secs(60), &mut next));
        assert!(look.as_mut().await.is_err(), "a fifth turn");
        held.pop();
        drop(next.await);
        assert_eq!(renewals.lock().free, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_waits_for_something_else_lets_the_next_begin_up_to_a_bound() {
        let renewals = Renewals::new(1);
        let mut stuck = Vec::new();
        for _ in 0..MAX_LINGERING {
            let turn = renewals.turn(at(0)).await;
            stuck.push(tokio::spawn(turn.work(std::future::pending::<()>())));
        }
        let last = renewals.turn(at(0)).await;
        let last = tokio::spawn(last.work(std::future::pending::<()>()));
        let refused = tokio::time::timeout(Duration::from_secs(60), renewals.turn(at(0))).await;
        assert!(refused.is_err(), "there is a bound on how many are under way");
        last.abort();
        drop(renewals.turn(at(0)).await);
        stuck.iter().for_each(tokio::task::JoinHandle::abort);
        for task in stuck {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        let state = renewals.lock();
        assert_eq!((state.lingering, state.free), (0, 1));
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_line_and_takes_no_turn_along() {
        let renewals = Renewals::new(1);
        let held = renewals.turn(at(0)).await;
        let waits = tokio::spawn({
            let renewals = Arc::clone(&renewals);
            async move { drop(renewals.turn(at(1)).await) }
        });
        tokio::task::yield_now().await;
        assert_eq!(renewals.lock().waiting.len(), 1);
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        assert!(renewals.lock().waiting.is_empty());
        drop(held);
        assert_eq!(renewals.lock().free, 1);
    }
}
