//! The story as a stream: the trust bundle, for as long as the caller is entitled to one.

use std::sync::Arc;
use std::time::Duration;

use countersign_common::bundle::{Bundle, BundleSet};
use countersign_common::clock::Timestamp;
use countersign_common::entry::Entry;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::account::Account;
use super::{Identity, Refusal};
use crate::attest::{AttestError, Attestation};
use crate::peer::Peer;
use crate::policy;
use crate::registry::Snapshot;
use crate::weakened::Protection;

/// Bundles as they change; a refusal is the last item.
pub type BundleStream = ReceiverStream<Result<Arc<Bundle>, Refusal>>;

/// How long a client may take to read a message before its stream is ended.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(30);

/// The longest sleep until an entry expires. Timers stand still while the machine is
/// suspended, and the clock may be set: it is looked at again and again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What event the audit record names.
const EVENT: &str = "jwt_bundles";

/// One open stream: whom it serves, what it watches, what it said last.
struct OpenStream {
    identity: Arc<Identity>,
    peer: Arc<Peer>,
    bundles: watch::Receiver<Arc<BundleSet>>,
    registry: watch::Receiver<Arc<Snapshot>>,
    entitlement: Entitlement,
    sent: Option<Arc<Bundle>>,
    sender: mpsc::Sender<Result<Arc<Bundle>, Refusal>>,
}

/// What a stream rests on.
struct Entitlement {
    /// The process as it was when it opened the stream.
    attestation: Attestation,
    /// When the first of its entries expires, if one does.
    until: Option<Timestamp>,
}

impl Identity {
    /// The trust domain's bundle: the first message at once, later ones on change, each
    /// after the caller was attested anew (`SPIFFE_Workload_API.md`, sections 4.3 and 6.2.2).
    ///
    /// # Errors
    /// The caller is entitled to no bundle.
    pub async fn watch_bundle(self: &Arc<Self>, peer: &Arc<Peer>) -> Result<BundleStream, Refusal> {
        let bundles = self.authority.bundles();
        let mut registry = self.registry.clone();
        let mut account = Account::open(self, EVENT, peer, &[], None);
        let matched = self.attest_and_match(peer, &mut registry, self.hold, &mut account).await;
        let entitled = matched.and_then(|(attestation, entries)| {
            let entries = self.content_with_image(&attestation, entries)?;
            Ok((attestation, entries))
        });
        let entitlement = match entitled {
            Ok((attestation, entries)) => {
                let until = entries.iter().filter_map(|entry| entry.expires).min().map(|day| day.begins());
                Entitlement { attestation, until }
            }
            Err(refusal) => return Err(account.refused(refusal).await),
        };
        account.answered("served").await?;
        // One message at a time: a client that does not read holds back one bundle, no more.
        let (sender, receiver) = mpsc::channel(1);
        let (identity, peer) = (Arc::clone(self), Arc::clone(peer));
        let stream = OpenStream { identity, peer, bundles, registry, entitlement, sent: None, sender };
        tokio::spawn(stream.run());
        Ok(ReceiverStream::new(receiver))
    }
}

impl Identity {
    /// Those of the matched entries that are content with the image of the process. Never none.
    fn content_with_image(
        &self,
        attestation: &Attestation,
        entries: Vec<Arc<Entry>>,
    ) -> Result<Vec<Arc<Entry>>, Refusal> {
        let (mut content, mut refused) = (Vec::with_capacity(entries.len()), Vec::new());
        for entry in entries {
            match policy::check_image(attestation, &entry, &self.limits.lifted) {
                Ok(()) => content.push(entry),
                Err(refusal) => refused.push(refusal),
            }
        }
        if content.is_empty() { Err(Refusal::Policy(refused)) } else { Ok(content) }
    }
}

impl OpenStream {
    /// Serves until the client, its process, its entitlement or the agent ends.
    async fn run(mut self) {
        let refusal = loop {
            let latest = Arc::clone(&self.bundles.borrow_and_update().own);
            if self.sent.as_ref() != Some(&latest) {
                if let Err(refusal) = self.send(Arc::clone(&latest)).await {
                    break refusal;
                }
                self.sent = Some(latest);
            }
            if let Err(refusal) = self.woken().await {
                break refusal;
            }
            if let Err(refusal) = self.attest_anew().await {
                break refusal;
            }
        };
        // If the one place is still taken, the client has not read for so long that only
        // the end of the stream is left to tell it.
        let _ = self.sender.try_send(Err(refusal));
    }

    /// Whether the caller is still entitled, and still the process that opened the stream:
    /// another program in its place has to ask for itself. Nobody is held here: who lost the
    /// entitlement hears of it at once.
    async fn attest_anew(&mut self) -> Result<(), Refusal> {
        let mut account = Account::open(&self.identity, EVENT, &self.peer, &[], None);
        let matching = self.identity.attest_and_match(&self.peer, &mut self.registry, Duration::ZERO, &mut account);
        let matched = matching.await.and_then(|(attestation, entries)| {
            let entries = self.identity.content_with_image(&attestation, entries)?;
            self.entitlement.attestation.recheck().map_err(AttestError::from)?;
            Ok(entries)
        });
        match matched {
            Ok(entries) => {
                self.entitlement.until = entries.iter().filter_map(|entry| entry.expires).min().map(|day| day.begins());
                account.answered("served").await
            }
            Err(refusal) => Err(account.refused(refusal).await),
        }
    }

    /// Returns when bundle or entries changed, or an entry expired.
    async fn woken(&mut self) -> Result<(), Refusal> {
        tokio::select! {
            changed = self.bundles.changed() => changed.map_err(|_| Refusal::Stopping),
            changed = self.registry.changed() => changed.map_err(|_| Refusal::Stopping),
            () = expired(&self.identity, self.entitlement.until) => Ok(()),
            refusal = ended(&self.identity, &self.peer, &self.sender) => Err(refusal),
        }
    }

    /// Waits for the client to take the bundle, but not for ever, and not longer than its
    /// process lives.
    async fn send(&self, bundle: Arc<Bundle>) -> Result<(), Refusal> {
        tokio::select! {
            sent = timeout(read_limit(), self.sender.send(Ok(bundle))) => match sent {
                Ok(sent) => sent.map_err(|_| Refusal::Exited),
                Err(_) => Err(told(&self.identity, &self.peer, Refusal::NotRead).await),
            },
            refusal = ended(&self.identity, &self.peer, &self.sender) => Err(refusal),
        }
    }
}

fn read_limit() -> Duration {
    if Protection::ReadLimit.is_out() { Duration::MAX } else { READ_LIMIT }
}

/// Waits for the time to come, by the clock that decides about entries; for ever if there is none.
async fn expired(identity: &Identity, until: Option<Timestamp>) {
    let Some(until) = until else { return std::future::pending().await };
    while identity.clock.now() < until {
        sleep(identity.clock.now().until(until).min(LONGEST_PAUSE)).await;
    }
}

/// What ends a stream from outside. A process that exits ends it even if somebody else
/// still holds the connection.
async fn ended(identity: &Identity, peer: &Peer, sender: &mpsc::Sender<Result<Arc<Bundle>, Refusal>>) -> Refusal {
    tokio::select! {
        () = peer.exited() => told(identity, peer, Refusal::Exited).await,
        () = identity.drain.requested() => Refusal::Stopping,
        () = sender.closed() => Refusal::Exited,
    }
}

/// Records that the agent ends a stream, and why.
async fn told(identity: &Identity, peer: &Peer, refusal: Refusal) -> Refusal {
    Account::open(identity, EVENT, peer, &[], None).ended(refusal).await
}
