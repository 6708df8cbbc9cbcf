//! Slots on blocking threads: bounded for all, and fair between users.
//!
//! A user who makes the agent wait, with a file system of its own that does not answer or
//! with a thousand huge executables, uses up the slots of its own uid and nobody else's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::AttestorError;

/// Leave to occupy one blocking thread; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _of_the_user: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// The slots of one kind of work.
#[derive(Debug)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    per_user: usize,
    users: Mutex<HashMap<u32, Weak<Semaphore>>>,
}

impl Slots {
    /// `all` slots, of which one user holds at most `per_user` at a time.
    pub(super) fn new(all: usize, per_user: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), per_user, users: Mutex::default() }
    }

    /// Waits for a slot, in the order of asking among the work of this user, and then in the
    /// order of asking among users.
    pub(super) async fn take(&self, uid: u32) -> Result<Slot, AttestorError> {
        // First the user's own: who has none left must not stand in the queue of all.
        let of_the_user = self.of(uid).acquire_owned().await.map_err(|_| AttestorError::GivenUp)?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.map_err(|_| AttestorError::GivenUp)?;
        Ok(Slot { _of_the_user: of_the_user, _of_all: of_all })
    }

    /// Does `work` on a blocking thread, for at most `limit` including the wait for a slot.
    ///
    /// The slot goes with the work and not with the caller: work that hangs keeps its slot
    /// until it ends, also when nobody waits any more, so that abandoned threads are bounded.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        uid: u32,
        limit: Duration,
        work: impl FnOnce() -> Result<T, AttestorError> + Send + 'static,
    ) -> Result<T, AttestorError> {
        let done = async {
            let slot = self.take(uid).await?;
            let on_its_thread = move || {
                let _slot = slot;
                work()
            };
            tokio::task::spawn_blocking(on_its_thread).await.unwrap_or(Err(AttestorError::GivenUp))
        };
        tokio::time::timeout(limit, done).await.unwrap_or(Err(AttestorError::Late(limit)))
    }

    fn of(&self, uid: u32) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = users.get(&uid).and_then(Weak::upgrade) {
            return slots;
        }
        // Whose slots are all free and unwanted is forgotten, so the map stays as small as the work.
        users.retain(|_, slots| slots.strong_count() > 0);
        let slots = Arc::new(Semaphore::new(self.per_user));
        users.insert(uid, Arc::downgrade(&slots));
        slots
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const AGES: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_user_who_waits_for_itself_is_not_in_the_way_of_others() {
        let slots = Arc::new(Slots::new(2, 1));
        let held = slots.take(1).await.unwrap();
        let next = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take(1).await.unwrap() }
        });
        tokio::task::yield_now().await;
        drop(slots.take(2).await.unwrap());
        assert!(!next.is_finished());
        drop(held);
        next.await.unwrap();
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_keeps_its_slot_until_it_ends() {
        let slots = Slots::new(1, 1);
        let (end, ended) = mpsc::channel::<()>();
        let hang = move || ended.recv().map_err(|_| AttestorError::GivenUp);
        let late = slots.run(1, Duration::ZERO, hang).await;
        assert!(matches!(late, Err(AttestorError::Late(_))));
        assert_eq!(slots.all.available_permits(), 0);
        drop(end);
        slots.run(1, AGES, || Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_slot_back() {
        let slots = Slots::new(1, 1);
        let gone = slots.run(1, AGES, || -> Result<(), _> { panic!("as a test does") }).await;
        assert!(matches!(gone, Err(AttestorError::GivenUp)));
        slots.run(1, AGES, || Ok(())).await.unwrap();
    }
}
