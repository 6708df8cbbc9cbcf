//! What wakes an open stream, and how soon it has to look: what is lost or spoilt at once, what
//! merely changed after a part of a moment that is its own.

use std::sync::Arc;
use std::time::Duration;

use countersign_common::clock::Timestamp;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{OpenStream, Subject, slot};
use crate::identity::account::Account;
use crate::identity::{Identity, Refusal};
use crate::peer::Peer;
use crate::svid::Turn;
use crate::weakened::Protection;

/// How long a client may take to read a message before its stream is ended.
pub(in crate::identity) const READ_LIMIT: Duration = Duration::from_secs(30);

/// The longest sleep until a time comes. Timers stand still while the machine is suspended, and the
/// clock may be set: it is looked at again and again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a mere change may wait behind SVIDs that expire.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whom a stream serves.
pub(super) struct Client<M> {
    pub(super) identity: Arc<Identity>,
    pub(super) peer: Arc<Peer>,
    /// What event the audit record names.
    pub(super) event: &'static str,
    pub(super) sender: slot::Sender<Result<M, Refusal>>,
}

impl<S: Subject> OpenStream<S> {
    /// Returns when there is reason to look again: the moment by which that has to be done.
    pub(super) async fn wait(&mut self) -> Result<Timestamp, Refusal> {
        let mut look_at: Option<Instant> = None;
        loop {
            let now = self.client.now();
            let expires = self.first_expiry();
            if !self.is_postponed && expires.is_some_and(|expires| expires <= now) {
                return Ok(now);
            }
            if self.subject.is_due(now) {
                return Ok(self.subject.deadline().unwrap_or(now));
            }
            let next = [expires, self.subject.next_due()].into_iter().flatten().min();
            let changed = tokio::select! {
                changed = self.bundles.changed() => changed,
                changed = self.registry.changed() => changed,
                () = at(look_at) => return Ok(now.after(PATIENCE)),
                () = pause(now, next) => continue,
                refusal = self.client.ended() => return Err(refusal),
            };
            changed.map_err(|_| Refusal::Stopping)?;
            if self.is_urgent(now) {
                return Ok(now);
            }
            look_at.get_or_insert_with(|| Instant::now() + self.counted.delay());
        }
    }

    /// When the first of the entries expires, if one does.
    fn first_expiry(&self) -> Option<Timestamp> {
        let entries = self.told.iter().flat_map(|told| &told.entries);
        entries.filter_map(|entry| entry.expires).min().map(|day| day.begins())
    }

    /// Whether, by what was known of the process when it was attested last, the latest entries take
    /// something from it, or the latest bundles show that it holds something that is good no longer.
    fn is_urgent(&self, now: Timestamp) -> bool {
        let Some(told) = &self.told else { return true };
        let (snapshot, bundles) = (Arc::clone(&self.registry.borrow()), Arc::clone(&self.bundles.borrow()));
        if self.subject.is_spoilt(&bundles) {
            return true;
        }
        let found = snapshot.matches(told.attestation.selectors(), told.attestation.unavailable(), now);
        match self.subject.content(&self.client.identity, &told.attestation, found.entries, &bundles) {
            Err(_) => true,
            Ok(granted) => told
                .entries
                .iter()
                .any(|had| !granted.entries.iter().any(|has| (&has.id, &has.spiffe_id) == (&had.id, &had.spiffe_id))),
        }
    }

    /// Waits until it is this stream's turn, but not longer than there is somebody to serve.
    pub(super) async fn wait_for_turn(&self, by: Timestamp) -> Result<Turn, Refusal> {
        tokio::select! {
            turn = self.client.identity.renewals.turn(by) => Ok(turn),
            refusal = self.client.ended() => Err(refusal),
        }
    }
}

impl<M> Client<M> {
    pub(super) fn now(&self) -> Timestamp {
        self.identity.clock.now()
    }

    pub(super) fn account(&self) -> Account {
        Account::open(&self.identity, self.event, &self.peer, &[], None)
    }

    /// Waits for the client to take the message before, but not for ever, and not longer than its
    /// process lives.
    pub(super) async fn has_place(&self) -> Result<(), Refusal> {
        tokio::select! {
            place = timeout(read_limit(), self.sender.has_place()) => match place {
                Ok(place) => place.map_err(|slot::Closed| Refusal::Exited),
                Err(_) => Err(self.tell_end(Refusal::NotRead).await),
            },
            refusal = self.ended() => Err(refusal),
        }
    }

    /// Records that the agent ends the stream, and why. On the heap, as it happens once.
    async fn tell_end(&self, refusal: Refusal) -> Refusal {
        Box::pin(async { self.account().ended(refusal).await }).await
    }

    /// What ends a stream from outside. A process that exits ends it even if somebody else
    /// still holds the connection.
    async fn ended(&self) -> Refusal {
        tokio::select! {
            () = self.peer.exited() => self.tell_end(Refusal::Exited).await,
            () = self.identity.drain.requested() => Refusal::Stopping,
            () = self.sender.closed() => Refusal::Exited,
        }
    }
}

fn read_limit() -> Duration {
    if Protection::ReadLimit.is_out() { Duration::MAX } else { READ_LIMIT }
}

/// Waits for the moment; for ever if there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Sleeps until about `next`, by a clock that says `now`; for ever if there is nothing to wait for.
async fn pause(now: Timestamp, next: Option<Timestamp>) {
    match next {
        Some(next) => sleep(now.until(next).clamp(Duration::from_secs(1), LONGEST_PAUSE)).await,
        None => std::future::pending().await,
    }
}
