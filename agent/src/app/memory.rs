//! Memory that many connections and streams have taken goes back to the kernel when they are gone, and
//! that with which entries were loaded or applied when they are.
//!
//! The allocator of the C library keeps what was once in use: after ten thousand streams some 200
//! MiB, for ever. It gives back what is free when it is told to (malloc_trim(3)), for which it walks
//! over all that it has; so it is told once a crowd has left, and while nobody comes or goes; and
//! after the start and after changes of entries, when no more of them come.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::admission::{Admission, CROWD, Crowded};
use crate::peer::give_back_free_memory;
use crate::registry::Snapshot;

/// How often it is looked whether a crowd has left; as long as there is none, nothing is looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// So many at least have to have left; a difference of fewer is quiet.
const FEW: usize = CROWD / 2;
/// For so many looks some of what the crowd had is still in use: a stream's task ends when it next
/// wakes. Memory is given back again at the first, second, fourth of them, and so on.
const AFTERMATH: u32 = 32;

/// What is known of the places that were held.
#[derive(Debug, Default)]
struct Crowd {
    /// The most since memory was given back.
    most: usize,
    /// At the last look.
    last: usize,
    /// Looks since memory was first given back, until all is over.
    since: Option<u32>,
}

impl Crowd {
    /// Whether memory should be given back now that so many places are held. A crowd may have come and gone between
    /// two looks.
    fn has_left(&mut self, Crowded { held, most }: Crowded) -> bool {
        let is_quiet = held.abs_diff(self.last) < FEW;
        self.last = held;
        self.most = self.most.max(most);
        if is_quiet && self.some_left() {
            (self.most, self.since) = (held, Some(0));
            return true;
        }
        self.since = self.since.map(|looks| looks + 1).filter(|looks| *looks <= AFTERMATH);
        self.since.is_some_and(u32::is_power_of_two)
    }

    /// Whether it is worth looking again.
    fn is_over(&self) -> bool {
        self.last < CROWD && !self.some_left() && self.since.is_none()
    }

    fn some_left(&self) -> bool {
        self.most - self.last >= FEW
    }
}

/// Never ends: gives memory back, each time that there may be much of it.
pub(super) async fn give_back(admission: &Admission, snapshots: watch::Receiver<Arc<Snapshot>>) {
    // It fails only if the agent ends.
    let give_back = async || drop(spawn_blocking(give_back_free_memory).await);
    tokio::join!(after_crowds(admission, give_back), after_changes(snapshots, give_back));
}

/// Never ends: has the memory given back that it took to load the first entries, and to change them.
async fn after_changes<T>(mut snapshots: watch::Receiver<T>, give_back: impl AsyncFn()) {
    snapshots.mark_changed();
    while snapshots.changed().await.is_ok() {
        while timeout(LOOK_INTERVAL, snapshots.changed()).await.is_ok_and(|changed| changed.is_ok()) {}
        give_back().await;
    }
    std::future::pending().await
}

/// Never ends: has given back what a crowd has left behind, each time that there was one.
async fn after_crowds(admission: &Admission, give_back: impl AsyncFn()) {
    loop {
        admission.crowded().await;
        let mut crowd = Crowd::default();
        while {
            sleep(LOOK_INTERVAL).await;
            if crowd.has_left(admission.crowd()) {
                give_back().await;
            }
            !crowd.is_over()
        } {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    /// As many as there were at any time since the look before.
    fn as_many(held: usize) -> Crowded {
        Crowded { held, most: held }
    }

    #[test]
    fn memory_is_given_back_when_the_crowd_has_left_and_it_is_quiet() {
        let mut crowd = Crowd::default();
        let looks = [CROWD, 10 * CROWD, 10 * CROWD, 5 * CROWD, 3, 3];
        let given: Vec<bool> = looks.into_iter().map(|held| crowd.has_left(as_many(held))).collect();
        assert_eq!(given, [false, false, false, false, false, true]);
        assert!(!crowd.is_over());
        let again: Vec<usize> = (1..100).filter(|_| crowd.has_left(as_many(3))).collect();
        assert_eq!(again, [1, 2, 4, 8, 16, 32]);
        assert!(crowd.is_over());
    }

    #[test]
    fn a_crowd_that_stays_is_looked_at_and_keeps_its_memory() {
        let mut crowd = Crowd::default();
        assert!(!(0..100).any(|_| crowd.has_left(as_many(10 * CROWD))) && !crowd.is_over());
    }

    #[test]
    fn a_crowd_that_comes_and_goes_between_two_looks_is_known_of() {
        let mut crowd = Crowd::default();
        assert!(crowd.has_left(Crowded { held: 0, most: CROWD }));
        let mut crowd = Crowd::default();
        assert!(!crowd.has_left(as_many(CROWD)) && !crowd.has_left(as_many(CROWD)));
        assert!(crowd.has_left(Crowded { held: CROWD, most: 10 * CROWD }));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_given_back_after_the_start_and_once_after_changes() {
        let given = watch::Sender::new(0);
        let (entries, snapshots) = watch::channel(0);
        let giving = after_changes(snapshots, async || given.send_modify(|times| *times += 1));
        let mut times = given.subscribe();
        let story = async {
            times.wait_for(|times| *times == 1).await.expect("what the start took");
            for change in 0..5 {
                entries.send_replace(change);
                advance(LOOK_INTERVAL / 2).await;
                assert_eq!(*given.borrow(), 1, "while changes come");
            }
            times.wait_for(|times| *times == 2).await.expect("what the changes took");
            advance(100 * LOOK_INTERVAL).await;
            assert_eq!(*given.borrow(), 2, "nobody is woken for nothing");
        };
        tokio::select! {
            () = giving => unreachable!("it never ends"),
            () = story => {}
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_and_goes_in_the_end_all_is_given_back(
            looks in proptest::collection::vec(0..20 * CROWD, 1..50),
        ) {
            let mut crowd = Crowd::default();
            let given = looks.iter().filter(|held| crowd.has_left(as_many(**held))).count();
            let at_the_end = (0..3 + AFTERMATH).filter(|_| crowd.has_left(as_many(0))).count();
            prop_assert!(crowd.is_over());
            let most = looks.iter().max().copied().unwrap_or_default();
            prop_assert!(given + at_the_end > 0 || most < FEW);
        }
    }
}
