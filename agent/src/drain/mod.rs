//! How the agent stops: everyone is told once, finishes what is under way, and is
//! waited for up to a limit.

use tokio::sync::watch;

/// Told to those who must stop. Clones hear the same request.
#[derive(Clone, Debug)]
pub struct Drain {
    requested: watch::Receiver<bool>,
}

/// Asks everyone who holds the matching [`Drain`] to stop.
#[derive(Debug)]
pub struct DrainTrigger {
    requested: watch::Sender<bool>,
}

/// A trigger and the signal that it sets off.
pub fn channel() -> (DrainTrigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    (DrainTrigger { requested: sender }, Drain { requested: receiver })
}

impl DrainTrigger {
    /// Asks everyone to stop; asking twice is asking once.
    pub fn request(&self) {
        self.requested.send_replace(true);
    }
}

impl Drain {
    /// Ends when a stop is requested, at once if it was before. A trigger that is gone
    /// counts as a request: nobody is left who could ask later.
    pub async fn requested(&self) {
        let mut requested = self.requested.clone();
        // The value only matters as "true or nobody left to ask".
        let _ = requested.wait_for(|requested| *requested).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_those_who_came_before_and_after() {
        let (trigger, before) = channel();
        trigger.request();
        before.requested().await;
        before.clone().requested().await;
    }

    #[tokio::test]
    async fn a_dropped_trigger_is_a_request() {
        let (trigger, drain) = channel();
        drop(trigger);
        drain.requested().await;
    }
}
