//! A channel of one place: what a stream says next, until its client takes it.
//!
//! Thousands are open at once, most of them empty. A channel of the runtime's keeps room for a block of 32 messages; this
//! one has room for the one that it may hold.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio_stream::Stream;

/// Where a stream puts what it says. Waited for by one task at a time.
pub(super) struct Sender<T>(Arc<Slot<T>>);

/// What a stream says; ends once the [`Sender`] is gone and all is taken.
pub struct Receiver<T>(Arc<Slot<T>>);

struct Slot<T>(Mutex<State<T>>);

struct State<T> {
    item: Option<T>,
    sender_is_gone: bool,
    receiver_is_gone: bool,
    sends: Option<Waker>,
    receives: Option<Waker>,
}

/// The receiver is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed;

pub(super) fn slot<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { item: None, sender_is_gone: false, receiver_is_gone: false, sends: None, receives: None };
    let slot = Arc::new(Slot(Mutex::new(state)));
    (Sender(Arc::clone(&slot)), Receiver(slot))
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// Whether the place is taken, by what was not taken out yet.
    pub(super) fn is_full(&self) -> bool {
        self.0.lock().item.is_some()
    }

    /// Puts an item there, if the place is free and somebody is there to take it; false if not.
    pub(super) fn put(&self, item: T) -> bool {
        let mut state = self.0.lock();
        if state.item.is_some() || state.receiver_is_gone {
            return false;
        }
        state.item = Some(item);
        let receives = state.receives.take();
        drop(state);
        receives.into_iter().for_each(Waker::wake);
        true
    }

    /// Waits until the place is free.
    ///
    /// # Errors
    /// Nobody will take what is put there.
    pub(super) async fn has_place(&self) -> Result<(), Closed> {
        self.wait(|state| match state {
            State { receiver_is_gone: true, .. } => Some(Err(Closed)),
            State { item, .. } => item.is_none().then_some(Ok(())),
        })
        .await
    }

    /// Waits until nobody will take anything any more.
    pub(super) async fn closed(&self) {
        self.wait(|state| state.receiver_is_gone.then_some(())).await;
    }

    async fn wait<U>(&self, comes_true: impl Fn(&State<T>) -> Option<U>) -> U {
        std::future::poll_fn(|cx| {
            let mut state = self.0.lock();
            if let Some(come) = comes_true(&state) {
                return Poll::Ready(come);
            }
            remember(&mut state.sends, cx);
            Poll::Pending
        })
        .await
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        if let Some(item) = state.item.take() {
            let sends = state.sends.take();
            drop(state);
            sends.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(item));
        }
        if state.sender_is_gone {
            return Poll::Ready(None);
        }
        remember(&mut state.receives, cx);
        Poll::Pending
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.sender_is_gone = true;
        let receives = state.receives.take();
        drop(state);
        receives.into_iter().for_each(Waker::wake);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receiver_is_gone = true;
        let (sends, item) = (state.sends.take(), state.item.take());
        drop(state);
        drop(item);
        sends.into_iter().for_each(Waker::wake);
    }
}

fn remember(waker: &mut Option<Waker>, cx: &Context<'_>) {
    if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_put_is_taken_once_and_then_the_end_comes() {
        let (sender, mut receiver) = slot();
        assert!(sender.put(1) && sender.is_full() && !sender.put(2));
        assert_eq!(receiver.next().await, Some(1));
        assert!(sender.put(3));
        drop(sender);
        assert_eq!((receiver.next().await, receiver.next().await), (Some(3), None));
    }

    #[tokio::test]
    async fn who_waits_hears_of_an_item_of_a_free_place_and_of_each_end() {
        let (sender, mut receiver) = slot();
        let takes = tokio::spawn(async move {
            let first = receiver.next().await;
            (first, receiver)
        });
        tokio::task::yield_now().await;
        assert!(sender.put(1));
        let (first, mut receiver) = takes.await.unwrap();
        assert_eq!(first, Some(1));

        assert!(sender.put(2));
        let puts = tokio::spawn(async move {
            let place = sender.has_place().await;
            (place, sender)
        });
        tokio::task::yield_now().await;
        assert_eq!(receiver.next().await, Some(2));
        let (place, sender) = puts.await.unwrap();
        assert_eq!(place, Ok(()));

        let ends = tokio::spawn(async move { sender.closed().await });
        tokio::task::yield_now().await;
        drop(receiver);
        ends.await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_put_for_nobody() {
        let (sender, receiver) = slot();
        assert!(sender.put(1));
        drop(receiver);
        assert!(!sender.is_full() && !sender.put(2));
        assert_eq!(sender.has_place().await, Err(Closed));
        sender.closed().await;
    }

    #[tokio::test]
    async fn who_takes_hears_that_nothing_more_comes() {
        let (sender, mut receiver) = slot::<u8>();
        let takes = tokio::spawn(async move { receiver.next().await });
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(takes.await.unwrap(), None);
    }
}
