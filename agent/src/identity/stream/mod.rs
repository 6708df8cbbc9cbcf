//! The story as a stream: what a caller is given, for as long as it is entitled to it.
//!
//! There is one kind of stream. Whatever wakes it, it attests its caller anew, recomputes its whole
//! message from the latest entries and bundles, and says it if it differs from what it said last, or
//! if something in that has to be replaced. What a message is, a [`Subject`] knows.

mod slot;
mod spread;
mod waiting;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use countersign_common::bundle::BundleSet;
use countersign_common::clock::Timestamp;
use countersign_common::entry::Entry;
use tokio::sync::watch;

use super::account::{Account, Stage};
use super::{Identity, Matched, Refusal, tell_withheld};
use crate::attest::Attestation;
use crate::peer::Peer;
use crate::policy::PolicyRefusal;
use crate::registry::Snapshot;
use spread::Counted;
use waiting::Client;
#[cfg(test)]
pub(super) use waiting::READ_LIMIT;

pub use spread::OpenStreams;

/// Messages as there is something to say; a refusal is the last item.
pub type MessageStream<M> = slot::Receiver<Result<M, Refusal>>;

/// What a kind of stream is about.
pub(super) trait Subject: Send + Sync + 'static {
    /// Everything in a message but what is made for that message alone: where two are equal, the
    /// second need not be said.
    type Content: PartialEq + Send + Sync;
    /// What the caller is given.
    type Message: Send + 'static;

    /// What event the audit record names.
    fn event(&self) -> &'static str;

    /// What the attested process is to be given. Pure.
    ///
    /// # Errors
    /// Nothing is granted, or it cannot be told what is.
    fn content(
        &self,
        identity: &Identity,
        attestation: &Attestation,
        entries: Vec<Arc<Entry>>,
        bundles: &BundleSet,
    ) -> Result<Granted<Self::Content>, Refusal>;

    /// Makes a message of it.
    fn make(
        &mut self,
        identity: &Identity,
        content: &Self::Content,
        account: &mut Account,
    ) -> impl Future<Output = Result<Self::Message, Refusal>> + Send;

    /// Records that a message is given.
    fn record(
        &self,
        message: &Self::Message,
        account: &mut Account,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Notes what has to be known about a message later on, as it is given.
    fn said(&mut self, _message: &Self::Message, _bundles: &BundleSet, _now: Timestamp) {}

    /// Whether the last message needs to be replaced by now, though nothing changed.
    fn is_due(&self, _now: Timestamp) -> bool {
        false
    }

    /// When it will, if it ever will by itself.
    fn next_due(&self) -> Option<Timestamp> {
        None
    }

    /// By when at the latest.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Whether something in the last message is known by these bundles to be good no longer.
    fn is_spoilt(&self, _bundles: &BundleSet) -> bool {
        false
    }

    /// Whether the last message still serves after an attempt to replace it that ended so; if it
    /// does, it is noted when to try again.
    fn survives(&mut self, _refusal: &Refusal, _now: Timestamp) -> bool {
        false
    }
}

/// What policy leaves of the entries that match.
pub(super) struct Granted<C> {
    /// Those that grant something.
    pub(super) entries: Vec<Arc<Entry>>,
    /// What they grant.
    pub(super) content: C,
    /// Why the others grant nothing.
    pub(super) withheld: Vec<PolicyRefusal>,
}

/// One open stream: whom it serves, what it watches, what it said last.
struct OpenStream<S: Subject> {
    client: Client<S::Message>,
    bundles: watch::Receiver<Arc<BundleSet>>,
    registry: watch::Receiver<Arc<Snapshot>>,
    subject: S,
    told: Option<Told<S::Content>>,
    /// Whether the last look was in vain: then the subject says when to look again.
    is_postponed: bool,
    counted: Counted,
}

/// What the last message rests on.
struct Told<C> {
    /// The process as it was then.
    attestation: Attestation,
    entries: Vec<Arc<Entry>>,
    content: C,
}

/// What came of looking again.
enum Telling {
    /// A message was given.
    Said,
    /// There is nothing to say.
    Nothing,
    /// There is, but the client has not read the message before.
    Unread,
    /// A message could not be made; the one before serves for a while.
    Postponed,
}

/// Opens a stream. The first message is in it when this returns.
///
/// # Errors
/// Why there is none.
pub(super) async fn open<S: Subject>(
    identity: &Arc<Identity>,
    peer: &Arc<Peer>,
    subject: S,
) -> Result<MessageStream<S::Message>, Refusal> {
    let (mut stream, messages) = OpenStream::new(identity, peer, subject);
    stream.tell(identity.hold).await?;
    tokio::spawn(stream.run());
    Ok(messages)
}

impl<S: Subject> OpenStream<S> {
    fn new(identity: &Arc<Identity>, peer: &Arc<Peer>, subject: S) -> (Self, MessageStream<S::Message>) {
        // One message at a time: a client that does not read holds back one, no more.
        let (sender, messages) = slot::slot();
        let stream = Self {
            client: Client { identity: Arc::clone(identity), peer: Arc::clone(peer), event: subject.event(), sender },
            bundles: identity.authority.bundles(),
            registry: identity.registry.clone(),
            subject,
            told: None,
            is_postponed: false,
            counted: identity.streams.join(),
        };
        (stream, messages)
    }

    /// Serves until the client, its process, its entitlement or the agent ends.
    async fn run(mut self) {
        let Err(refusal) = self.serve().await;
        // If the one place is still taken, the client has not read for so long that only
        // the end of the stream is left to tell it.
        self.client.sender.put(Err(refusal));
    }

    async fn serve(&mut self) -> Result<Infallible, Refusal> {
        loop {
            let by = self.wait().await?;
            loop {
                let turn = self.wait_for_turn(by).await?;
                // On the heap: there are thousands of streams, most of which wait.
                let telling = Box::pin(turn.work(self.tell(Duration::ZERO))).await?;
                self.is_postponed = matches!(telling, Telling::Postponed);
                match telling {
                    Telling::Unread => self.client.has_place().await?,
                    Telling::Said | Telling::Nothing | Telling::Postponed => break,
                }
            }
        }
    }

    /// Looks at caller, entries and bundles anew, and says what there is to say. Who is entitled to
    /// nothing (any more) is held as long as `hold`.
    async fn tell(&mut self, hold: Duration) -> Result<Telling, Refusal> {
        let mut account = self.client.account();
        match self.tell_story(hold, &mut account).await {
            Ok(telling) => {
                account.nothing_new();
                Ok(telling)
            }
            Err(refusal) if self.subject.survives(&refusal, self.client.now()) => {
                tracing::warn!(pid = self.client.peer.pid(), %refusal, "renewal failed, what was given before still serves");
                account.failed(refusal).await;
                Ok(Telling::Postponed)
            }
            Err(refusal) => Err(account.refused(refusal).await),
        }
    }

    async fn tell_story(&mut self, hold: Duration, account: &mut Account) -> Result<Telling, Refusal> {
        loop {
            let Client { identity, peer, sender, .. } = &self.client;
            // Another program in the place of the one that opened the stream has to ask for itself.
            let before = self.told.as_ref().map(|told| &told.attestation);
            let matching = identity.attest_and_match(peer, before, &mut self.registry, hold, account);
            let Matched { attestation, entries, .. } = matching.await?;
            let bundles = Arc::clone(&self.bundles.borrow_and_update());
            let granted =
                account.time(Stage::Authorize, || self.subject.content(identity, &attestation, entries, &bundles))?;
            let Granted { entries, content, withheld } = granted;
            let known = self.told.as_ref().is_some_and(|told| told.content == content);
            if known && !self.subject.is_due(self.client.now()) && !self.subject.is_spoilt(&bundles) {
                self.told = Some(Told { attestation, entries, content });
                return Ok(Telling::Nothing);
            }
            if sender.is_full() {
                return Ok(Telling::Unread);
            }
            tell_withheld(&attestation, &withheld);
            let message = self.subject.make(identity, &content, account).await?;
            // All this takes time. A process that is gone by now gets nothing.
            if !peer.is_alive() {
                return Err(Refusal::Exited);
            }
            // After a jump of the clock, signing moves the keys on: what another key has signed is known
            // by the bundles of now, and not by those that this message has.
            if self.bundles.has_changed().unwrap_or(false) {
                continue;
            }
            // Nor does one whose entry is gone, of which an operator was told already.
            let holds = |entry: &Arc<Entry>| self.registry.borrow().holds(entry);
            if !entries.iter().all(holds) {
                continue;
            }
            self.subject.record(&message, account).await?;
            self.subject.said(&message, &bundles, self.client.now());
            self.told = Some(Told { attestation, entries, content });
            // There is a place, and nobody else takes it.
            return if sender.put(Ok(message)) { Ok(Telling::Said) } else { Err(Refusal::Exited) };
        }
    }
}

#[cfg(test)]
impl Identity {
    /// Bytes of the task of a stream, which it holds on to for as long as it is open.
    pub(super) fn task_bytes_for_tests<S: Subject>(self: &Arc<Self>, peer: &Arc<Peer>, subject: S) -> usize {
        size_of_val(&OpenStream::new(self, peer, subject).0.run())
    }
}
