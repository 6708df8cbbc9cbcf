//! Whether the agent is there: who was not answered may have asked it while it was restarted.

use tokio::sync::watch;

/// The lives of the agent, counted: odd numbers are the times between two of them.
#[derive(Debug)]
pub(super) struct Life(watch::Sender<u64>);

/// One life, as whoever asks in it remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch(u64);

impl Life {
    /// The first one has begun.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// It is about to end: whoever asks from now on may not be answered.
    pub(super) fn ends(&self) {
        self.0.send_modify(|epoch| *epoch |= 1);
    }

    /// The next one has begun.
    pub(super) fn begins(&self) {
        self.0.send_modify(|epoch| *epoch = (*epoch | 1) + 1);
    }

    /// Waits until the agent is there; which life it is.
    pub(super) async fn now(&self) -> Epoch {
        let mut lives = self.0.subscribe();
        // The sender is in `self`.
        let epoch = lives.wait_for(|epoch| epoch.is_multiple_of(2)).await.map_or(0, |epoch| *epoch);
        Epoch(epoch)
    }

    /// Whether that life still goes on.
    pub(super) fn is(&self, epoch: Epoch) -> bool {
        *self.0.borrow() == epoch.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_began_in_one_life_is_not_of_the_next() {
        let life = Life::new();
        let first = life.now().await;
        assert!(life.is(first));
        life.ends();
        assert!(!life.is(first));
        life.begins();
        assert!(!life.is(first));
        let second = life.now().await;
        assert_ne!(first, second);
        assert!(life.is(second));
    }
}
