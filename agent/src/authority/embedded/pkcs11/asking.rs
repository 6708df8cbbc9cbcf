//! Asking a token from async code, within a bound: it may be slow, and a device may hang for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// How many threads may be with the token at once.
const AT_ONCE: usize = 32;

/// Who is with the token.
pub(super) struct Asking {
    threads: Arc<Semaphore>,
    /// How many of them nobody waits for any more.
    overdue: Arc<AtomicUsize>,
}

impl Default for Asking {
    fn default() -> Self {
        Self { threads: Arc::new(Semaphore::new(AT_ONCE)), overdue: Arc::default() }
    }
}

impl Asking {
    /// Does `work` on a thread that may block; `None` if that takes longer than `limit`.
    ///
    /// A call into a module cannot be taken back. So while one hangs for longer than it may, nobody
    /// else is sent after it: all are told at once, instead of after a wait in which they would hold
    /// up others who need no token.
    pub(super) async fn within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.overdue.load(Ordering::Acquire) > 0 {
            return None;
        }
        let deadline = Instant::now() + limit;
        let thread = timeout_at(deadline, Arc::clone(&self.threads).acquire_owned()).await.ok()?.ok()?;
        let mut working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(thread);
            done
        });
        if let Ok(done) = timeout_at(deadline, &mut working).await {
            return done.ok();
        }
        let overdue = Arc::clone(&self.overdue);
        overdue.fetch_add(1, Ordering::AcqRel);
        tokio::spawn(async move {
            // What it did is of no use to anybody any more.
            let _ = working.await;
            overdue.fetch_sub(1, Ordering::AcqRel);
        });
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn while_one_hangs_nobody_is_sent_after_it_and_then_all_goes_on() {
        let asking = Asking::default();
        assert_eq!(asking.within(Duration::from_secs(60), || 7).await, Some(7));
        let (lets_go, hangs) = mpsc::channel::<()>();
        assert_eq!(asking.within(LIMIT, move || hangs.recv().is_err()).await, None);
        let (seen, sees) = mpsc::channel();
        assert_eq!(asking.within(Duration::from_secs(60), move || seen.send(())).await, None);
        assert!(sees.recv().is_err(), "it was not even begun");
        drop(lets_go);
        let served = async {
            while asking.within(Duration::from_secs(60), || ()).await.is_none() {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(Duration::from_secs(60), served).await.expect("it goes on");
    }
}
