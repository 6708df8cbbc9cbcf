//! From a peer to the SVIDs that it is entitled to: the story, once and as a stream.
//!
//! [`Identity::fetch_jwt_svids`] is the story once: attest, match, authorize, issue, in
//! that order, each step needing the value that the one before left. What came of it is
//! recorded before anybody hears of it. `stream` tells the same story as often as something
//! changes, about bundles and X509-SVIDs.

mod account;
mod bundles;
mod kept;
mod refusal;
mod stream;
mod validation;
mod x509_svids;

use std::sync::{Arc, Weak};
use std::time::Duration;

use countersign_common::clock::Clock;
use countersign_common::entry::Entry;
use countersign_common::spiffe_id::SpiffeId;
use countersign_common::svid::jwt::JwtSvid;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::attest::{AttestError, Attestation, Attestors};
use crate::audit::Audit;
use crate::authority::Authority;
use crate::drain::Drain;
use crate::peer::{Peer, PeerError};
use crate::policy::{self, Grant, Limits, PolicyRefusal};
use crate::registry::Snapshot;
use crate::svid::{JwtCache, Renewals};
use account::{Account, Stage};

pub use bundles::{Authorities, Bundles};
pub use refusal::{Fault, Refusal};
pub use stream::{MessageStream, OpenStreams};
pub use validation::ValidationError;
pub use x509_svids::{IssuedX509, MAX_SVIDS, X509Svids};

/// Everything that the story needs, made once by `app`.
pub struct Identity {
    /// Evidence to selectors.
    pub attestors: Attestors,
    /// The entries as of now.
    pub registry: watch::Receiver<Arc<Snapshot>>,
    /// Whoever signs.
    pub authority: Arc<dyn Authority>,
    /// Tokens that may be handed out again.
    pub tokens: Arc<JwtCache>,
    /// Which of the open streams is told next.
    pub renewals: Arc<Renewals>,
    /// How many there are.
    pub streams: Arc<OpenStreams>,
    /// Where every decision is recorded.
    pub audit: Arc<Audit>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What the configuration allows at most.
    pub limits: Limits,
    /// How long a caller that matches no entry is held, in case one arrives. Zero: not at all.
    pub hold: Duration,
    /// Ends held callers and open streams when the agent stops.
    pub drain: Drain,
}

/// What a caller asks for.
#[derive(Clone, Debug)]
pub struct JwtRequest {
    /// For whom the token is to be.
    pub audiences: Vec<String>,
    /// Which identity; all that the caller has if `None`.
    pub spiffe_id: Option<SpiffeId>,
}

/// A JWT-SVID on its way to the process that it belongs to.
pub struct IssuedJwt {
    /// The SVID.
    pub svid: Arc<JwtSvid>,
    /// The entry's hint; unique among the SVIDs of one answer.
    pub hint: Option<String>,
}

/// A process and the entries that it matches.
struct Matched {
    attestation: Attestation,
    entries: Vec<Arc<Entry>>,
    /// All entries of then. Not held: they may be many.
    by: Weak<Snapshot>,
    /// Whether it was kept from an earlier request.
    is_kept: bool,
}

impl Identity {
    /// The JWT-SVIDs that `peer` is entitled to, one an identity, in the order of the
    /// entries' ids (`SPIFFE_Workload_API.md`, section 6.2.1). Never an empty list.
    ///
    /// # Errors
    /// Why nothing is issued; for operators, not for the caller.
    pub async fn fetch_jwt_svids(&self, peer: &Arc<Peer>, request: &JwtRequest) -> Result<Vec<IssuedJwt>, Refusal> {
        let mut account = Account::open(self, "jwt_svid", peer, &request.audiences, request.spiffe_id.as_ref());
        let issued = self.tell_jwt_story(peer, request, &mut account).await;
        match issued {
            Ok(issued) => {
                account.issued(&issued).await?;
                Ok(issued.into_iter().map(|(issued, _)| issued).collect())
            }
            Err(refusal) => Err(account.refused(refusal).await),
        }
    }

    /// Records a request that was refused for its form, before anybody was attested.
    pub async fn record_malformed(&self, event: &'static str, peer: &Peer, reason: String) {
        Account::open(self, event, peer, &[], None).refused(Refusal::Malformed(reason)).await;
    }

    /// Records a connection that was ended for who spoke on it.
    pub async fn record_intrusion(&self, peer: &Peer, error: PeerError) {
        let account = Account::open(self, "connection", peer, &[], None);
        account.refused(Refusal::Attest(AttestError::Peer(error))).await;
    }

    async fn tell_jwt_story(
        &self,
        peer: &Arc<Peer>,
        request: &JwtRequest,
        account: &mut Account,
    ) -> Result<Vec<(IssuedJwt, account::Terms)>, Refusal> {
        let mut kept = account.time(Stage::Attest, || self.kept(peer))?;
        if let Some(Matched { attestation, .. }) = &kept {
            account.note(attestation);
        }
        loop {
            let matched = match kept.take() {
                Some(matched) => matched,
                None => self.attest_and_match(peer, None, &mut self.registry.clone(), self.hold, account).await?,
            };
            let Matched { attestation, entries, .. } = &matched;
            let grants = account.time(Stage::Authorize, || self.authorize(attestation, entries, request))?;
            self.forget_at_exit(peer, attestation);
            let issued = self.issue(&grants, account).await?;
            // All this takes time. A process that is gone by now gets nothing.
            if !peer.is_alive() {
                return Err(Refusal::Exited);
            }
            // Nor does one whose entry is gone, of which an operator was told already.
            let registry = self.registry.borrow();
            if grants.iter().all(|(_, entry)| registry.holds(entry)) {
                self.keep(peer, matched);
                return Ok(issued);
            }
        }
    }

    /// Attests `peer` and matches it to entries. Who matches none yet is held for a
    /// bounded time and attested again whenever the entries change: the process that is
    /// answered is the one that was looked at last. One that was attested `before` has to be
    /// the same program still. Afterwards `registry` has seen the entries that decided.
    async fn attest_and_match(
        &self,
        peer: &Arc<Peer>,
        before: Option<&Attestation>,
        registry: &mut watch::Receiver<Arc<Snapshot>>,
        hold: Duration,
        account: &mut Account,
    ) -> Result<Matched, Refusal> {
        let deadline = Instant::now() + hold;
        loop {
            let snapshot = Arc::clone(&registry.borrow_and_update());
            let attestation = account.attest(&self.attestors, peer, before, &snapshot).await?;
            let found = account.time(Stage::Match, || {
                snapshot.matches(attestation.selectors(), attestation.unavailable(), self.clock.now())
            });
            if !found.undecided.is_empty() {
                return Err(Refusal::undecided(found.undecided, attestation.unavailable()));
            }
            if !found.entries.is_empty() {
                let by = Arc::downgrade(&snapshot);
                return Ok(Matched { attestation, entries: found.entries, by, is_kept: false });
            }
            tracing::debug!(pid = peer.pid(), "no entry matches yet, the caller is held");
            let change = async {
                tokio::select! {
                    changed = registry.changed() => changed.map_err(|_| Refusal::Stopping),
                    () = tokio::time::sleep_until(deadline) => Err(Refusal::NoEntry),
                    () = peer.exited() => Err(Refusal::Exited),
                    () = self.drain.requested() => Err(Refusal::Stopping),
                }
            };
            account.time_async(Stage::Hold, change).await?;
        }
    }

    /// One grant an identity. Where several entries grant the same identity, the first
    /// whose terms allow the request does.
    fn authorize(
        &self,
        attestation: &Attestation,
        entries: &[Arc<Entry>],
        request: &JwtRequest,
    ) -> Result<Vec<(Grant, Arc<Entry>)>, Refusal> {
        let mut granted: Vec<(Grant, Arc<Entry>)> = Vec::new();
        let mut refused: Vec<PolicyRefusal> = Vec::new();
        let wanted = |entry: &&Arc<Entry>| request.spiffe_id.as_ref().is_none_or(|id| *id == entry.spiffe_id);
        for entry in entries.iter().filter(wanted) {
            if granted.iter().any(|(grant, _)| *grant.spiffe_id() == entry.spiffe_id) {
                continue;
            }
            match policy::authorize_jwt(attestation, entry, &request.audiences, &self.limits, self.clock.now()) {
                Ok(grant) => granted.push((grant, Arc::clone(entry))),
                Err(refusal) => refused.push(refusal),
            }
        }
        // An answer is never made smaller in silence since something could not be told.
        let decided = |refusal: &PolicyRefusal| !refusal.is_undecided();
        if !refused.iter().all(decided) {
            return Err(Refusal::Policy(refused));
        }
        match (granted.is_empty(), refused.is_empty()) {
            (false, _) => {
                tell_withheld(attestation, &refused);
                Ok(granted)
            }
            (true, false) => Err(Refusal::Policy(refused)),
            (true, true) => Err(Refusal::OtherIdentity { held: entries.iter().map(|e| e.spiffe_id.clone()).collect() }),
        }
    }

    async fn issue(
        &self,
        grants: &[(Grant, Arc<Entry>)],
        account: &mut Account,
    ) -> Result<Vec<(IssuedJwt, account::Terms)>, Refusal> {
        let mut issued: Vec<(IssuedJwt, account::Terms)> = Vec::with_capacity(grants.len());
        for (grant, entry) in grants {
            let cached = account.time_async(Stage::Issue, self.tokens.get(grant, || self.clock.now())).await?;
            // A hint tells identities apart, so no two in one answer share one (section 6.2.1).
            let is_new = |hint: &&str| issued.iter().all(|(other, _)| other.hint.as_deref() != Some(*hint));
            let hint = entry.hint.as_deref().filter(is_new).map(str::to_owned);
            let terms = account::Terms { entry: entry.id.clone(), reused: cached.reused };
            issued.push((IssuedJwt { svid: cached.svid, hint }, terms));
        }
        Ok(issued)
    }

    /// Drops the tokens of this process when it exits. The watcher holds the pidfd, so
    /// the instance cannot be mistaken for a later process of the same pid.
    fn forget_at_exit(&self, peer: &Arc<Peer>, attestation: &Attestation) {
        let instance = attestation.instance().clone();
        self.tokens.watch(attestation.instance(), || {
            let (tokens, peer) = (Arc::clone(&self.tokens), Arc::clone(peer));
            let watching = tokio::spawn(async move {
                peer.exited().await;
                tokens.forget(&instance);
            });
            watching.abort_handle()
        });
    }
}

/// Says why the answer has less than the entries that match: no record of an issue tells it.
fn tell_withheld(attestation: &Attestation, refused: &[PolicyRefusal]) {
    let told = |refusal: &&PolicyRefusal| {
        matches!(
            refusal,
            PolicyRefusal::Image { .. } | PolicyRefusal::NoPath { .. } | PolicyRefusal::TooManySvids { .. }
        )
    };
    for refusal in refused.iter().filter(told) {
        tracing::info!(pid = attestation.instance().pid, %refusal, "an identity is withheld");
    }
}

#[cfg(test)]
mod tests;
