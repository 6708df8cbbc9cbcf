//! The story as a stream: the trust bundle, for as long as the caller is entitled to one.

use std::sync::Arc;
use std::time::Duration;

use countersign_common::bundle::Bundle;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::account::Account;
use super::{Identity, Refusal};
use crate::peer::Peer;
use crate::registry::Snapshot;

/// Bundles as they change; a refusal is the last item.
pub type BundleStream = ReceiverStream<Result<Arc<Bundle>, Refusal>>;

/// One open stream: whom it serves, what it watches, what it said last.
struct OpenStream {
    identity: Arc<Identity>,
    peer: Arc<Peer>,
    bundle: watch::Receiver<Arc<Bundle>>,
    registry: watch::Receiver<Arc<Snapshot>>,
    sent: Option<Arc<Bundle>>,
    sender: mpsc::Sender<Result<Arc<Bundle>, Refusal>>,
}

impl Identity {
    /// The trust domain's bundle: the first message at once, later ones on change, each
    /// after the caller was attested anew (`SPIFFE_Workload_API.md`, sections 4.3 and 6.2.2).
    ///
    /// # Errors
    /// The caller is entitled to no bundle.
    pub async fn watch_bundle(self: &Arc<Self>, peer: &Arc<Peer>) -> Result<BundleStream, Refusal> {
        let bundle = self.authority.bundle();
        let mut registry = self.registry.clone();
        // Marked as seen before the caller is matched, so that no change in between is lost.
        registry.mark_unchanged();
        self.entitled_to_bundle(peer, self.hold).await?;
        // One message at a time: a client that does not read holds back one bundle, no more.
        let (sender, receiver) = mpsc::channel(1);
        let stream =
            OpenStream { identity: Arc::clone(self), peer: Arc::clone(peer), bundle, registry, sent: None, sender };
        tokio::spawn(stream.run());
        Ok(ReceiverStream::new(receiver))
    }

    /// Attests and matches, and records the answer.
    async fn entitled_to_bundle(&self, peer: &Arc<Peer>, hold: Duration) -> Result<(), Refusal> {
        let mut account = Account::open(self, "jwt_bundles", peer, &[], None);
        match self.attest_and_match(peer, hold, &mut account).await {
            Ok(_) => account.answered("served"),
            Err(refusal) => Err(account.refused(refusal)),
        }
    }
}

impl OpenStream {
    /// Serves until the client, its process, its entitlement or the agent ends.
    async fn run(mut self) {
        let refusal = loop {
            let latest = Arc::clone(&self.bundle.borrow_and_update());
            if self.sent.as_ref() != Some(&latest) {
                if let Err(refusal) = self.send(Arc::clone(&latest)).await {
                    break refusal;
                }
                self.sent = Some(latest);
            }
            if let Err(refusal) = self.woken().await {
                break refusal;
            }
            self.registry.mark_unchanged();
            // Nobody is held here: who lost the entitlement hears of it at once.
            if let Err(refusal) = self.identity.entitled_to_bundle(&self.peer, Duration::ZERO).await {
                break refusal;
            }
        };
        // If the one place is still taken, the client has not read for so long that only
        // the end of the stream is left to tell it.
        let _ = self.sender.try_send(Err(refusal));
    }

    /// Returns when bundle or entries changed.
    async fn woken(&mut self) -> Result<(), Refusal> {
        tokio::select! {
            changed = self.bundle.changed() => changed.map_err(|_| Refusal::Stopping),
            changed = self.registry.changed() => changed.map_err(|_| Refusal::Stopping),
            refusal = ended(&self.identity, &self.peer, &self.sender) => Err(refusal),
        }
    }

    /// Waits for the client to take the bundle, but not longer than its process lives.
    async fn send(&self, bundle: Arc<Bundle>) -> Result<(), Refusal> {
        tokio::select! {
            sent = self.sender.send(Ok(bundle)) => sent.map_err(|_| Refusal::Exited),
            refusal = ended(&self.identity, &self.peer, &self.sender) => Err(refusal),
        }
    }
}

/// What ends a stream from outside. A process that exits ends it even if somebody else
/// still holds the connection.
async fn ended(identity: &Identity, peer: &Peer, sender: &mpsc::Sender<Result<Arc<Bundle>, Refusal>>) -> Refusal {
    tokio::select! {
        () = peer.exited() => Refusal::Exited,
        () = identity.drain.requested() => Refusal::Stopping,
        () = sender.closed() => Refusal::Exited,
    }
}
