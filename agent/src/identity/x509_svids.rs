//! The stream of X509-SVIDs (`SPIFFE_Workload_API.md`, section 5.2.1).
//!
//! A message is complete, private keys included, and a key is handed out once and kept nowhere: so
//! each message, whatever was the reason for it, has new SVIDs with new keys. To keep the last
//! message in order to repeat its keys would hold the private key of every workload of the machine
//! in this process at all times; a new SVID costs less than the attestation before it. What a stream
//! keeps about an SVID is its name, its times and who signed it.

use std::sync::Arc;

use countersign_common::bundle::BundleSet;
use countersign_common::clock::Timestamp;
use countersign_common::entry::{Entry, EntryId};
use countersign_common::svid::x509::{Certificate, X509Svid};

use super::account::{Account, Stage};
use super::bundles::{Authorities, Bundles};
use super::stream::{self, Granted, MessageStream, Subject};
use super::{Identity, Refusal};
use crate::attest::Attestation;
use crate::authority::AuthorityError;
use crate::peer::Peer;
use crate::policy::{self, PolicyRefusal, X509Grant};
use crate::svid::{Schedule, issue_x509};

/// As many SVIDs are in one message; a process that matches more entries gets those with the first ids.
/// The largest message is below what clients take by default (gRPC: 4 MiB), but for large bundles.
pub const MAX_SVIDS: usize = 128;

/// An X509-SVID on its way to the process that it belongs to.
pub struct IssuedX509 {
    /// The SVID.
    pub svid: X509Svid,
    /// The entry's hint; unique among the SVIDs of one answer.
    pub hint: Option<String>,
    /// The entry that allows it.
    pub entry: EntryId,
    /// When every SVID on its terms ends.
    end: Option<Timestamp>,
}

/// One complete message.
pub struct X509Svids {
    /// One for each entry that grants one, in the order of the entries' ids; never none. The first
    /// is the default identity.
    pub svids: Vec<IssuedX509>,
    /// What they and those of others are checked with.
    pub bundles: Bundles,
}

/// What a message is about.
#[derive(PartialEq)]
pub(super) struct Content {
    granted: Vec<(X509Grant, Option<String>)>,
    bundles: Bundles,
}

/// What is known of the SVIDs that were handed out last.
#[derive(Default)]
struct HandedOut {
    svids: Vec<Known>,
    /// The own X.509 authorities of that message.
    authorities: Vec<Certificate>,
}

struct Known {
    entry: EntryId,
    serial: String,
    authority: String,
    schedule: Schedule,
}

impl Identity {
    /// The X509-SVIDs that `peer` is entitled to: the first message at once, later ones when entries
    /// or bundles change or an SVID is to be renewed, each after the caller was attested anew
    /// (`SPIFFE_Workload_API.md`, section 4.3).
    ///
    /// # Errors
    /// Why nothing is issued; for operators, not for the caller.
    pub async fn watch_x509_svids(self: &Arc<Self>, peer: &Arc<Peer>) -> Result<MessageStream<X509Svids>, Refusal> {
        stream::open(self, peer, HandedOut::default()).await
    }
}

impl Subject for HandedOut {
    type Content = Content;
    type Message = X509Svids;

    fn event(&self) -> &'static str {
        "x509_svid"
    }

    fn content(
        &self,
        identity: &Identity,
        attestation: &Attestation,
        matched: Vec<Arc<Entry>>,
        bundles: &BundleSet,
    ) -> Result<Granted<Content>, Refusal> {
        // No longer than what is in them: each open stream keeps both.
        let most = matched.len().min(MAX_SVIDS);
        let (mut entries, mut granted) =
            (Vec::with_capacity(most), Vec::<(X509Grant, Option<String>)>::with_capacity(most));
        let mut withheld = Vec::new();
        let now = identity.clock.now();
        for entry in matched {
            match policy::authorize_x509(attestation, &entry, &identity.limits, now) {
                Ok(_) if granted.len() == MAX_SVIDS => {
                    let (entry, limit) = (entry.id.clone(), MAX_SVIDS);
                    withheld.push(PolicyRefusal::TooManySvids { entry, limit });
                }
                Ok(grant) => {
                    // A hint tells identities apart, so no two in one answer share one (section 5.2.1).
                    let is_new = |hint: &&str| granted.iter().all(|(_, other)| other.as_deref() != Some(*hint));
                    let hint = entry.hint.as_deref().filter(is_new).map(str::to_owned);
                    granted.push((grant, hint));
                    entries.push(entry);
                }
                Err(refusal) => withheld.push(refusal),
            }
        }
        // An answer is never made smaller in silence since something could not be told.
        if granted.is_empty() || withheld.iter().any(PolicyRefusal::is_undecided) {
            return Err(Refusal::Policy(withheld));
        }
        let bundles = Bundles::of(Authorities::X509, bundles, &entries);
        Ok(Granted { entries, content: Content { granted, bundles }, withheld })
    }

    async fn make(
        &mut self,
        identity: &Identity,
        content: &Content,
        account: &mut Account,
    ) -> Result<X509Svids, Refusal> {
        let mut svids = Vec::with_capacity(content.granted.len());
        for (grant, hint) in &content.granted {
            let issuing = issue_x509(&*identity.authority, grant);
            let svid = account.time_async(Stage::Issue, issuing).await?;
            let (hint, entry, end) = (hint.clone(), grant.entry().clone(), grant.not_after());
            svids.push(IssuedX509 { svid, hint, entry, end });
        }
        // The last may have taken so long that the first has expired; such a one is never served.
        let now = identity.clock.now();
        if !svids.iter().all(|issued| issued.svid.not_before <= now && now <= issued.svid.not_after) {
            return Err(Refusal::Authority(AuthorityError::GrantOver));
        }
        Ok(X509Svids { svids, bundles: content.bundles.clone() })
    }

    async fn record(&self, message: &X509Svids, account: &mut Account) -> Result<(), Refusal> {
        let replaced = |issued: &IssuedX509| {
            let before = self.svids.iter().find(|known| known.entry == issued.entry);
            before.map(|known| known.serial.clone())
        };
        let issued: Vec<_> = message.svids.iter().map(|issued| (issued, replaced(issued))).collect();
        account.issued_x509(&issued).await
    }

    fn said(&mut self, message: &X509Svids, bundles: &BundleSet, now: Timestamp) {
        let known = |IssuedX509 { svid, entry, end, .. }: &IssuedX509| {
            let mut schedule = Schedule::new(&svid.serial, svid.not_before, svid.not_after, now, *end);
            if bundles.tainted.contains(&svid.authority) {
                // There is no better one yet. To ask again at once would not bring it.
                tracing::warn!(serial = svid.serial, authority = svid.authority, "a tainted authority still signs");
                schedule.fail(now);
            }
            let (serial, authority) = (svid.serial.clone(), svid.authority.clone());
            Known { entry: entry.clone(), serial, authority, schedule }
        };
        self.svids = message.svids.iter().map(known).collect();
        self.authorities.clone_from(&message.bundles.own().x509_authorities);
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.svids.iter().any(|known| known.schedule.is_due(now))
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.svids.iter().map(|known| known.schedule.next()).min()
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.svids.iter().map(|known| known.schedule.expires()).min()
    }

    /// An authority is tainted, or has left the bundle: nobody will trust what it signed.
    fn is_spoilt(&self, bundles: &BundleSet) -> bool {
        self.svids.iter().any(|known| bundles.tainted.contains(&known.authority))
            || self.authorities.iter().any(|authority| !bundles.own.x509_authorities.contains(authority))
    }

    /// What could not be signed or recorded may be the next time, and what the caller has is valid
    /// meanwhile. That it is not entitled, or that nobody can tell, is another matter.
    fn survives(&mut self, refusal: &Refusal, now: Timestamp) -> bool {
        let is_passing = matches!(refusal, Refusal::Authority(_) | Refusal::Audit(_));
        if !is_passing || self.svids.is_empty() || !self.svids.iter().all(|known| known.schedule.is_valid(now)) {
            return false;
        }
        self.svids.iter_mut().for_each(|known| known.schedule.fail(now));
        true
    }
}

#[cfg(test)]
impl IssuedX509 {
    /// For tests of what becomes of it on the wire.
    pub(crate) fn for_tests(svid: X509Svid, hint: Option<&str>) -> Self {
        let entry = EntryId::parse("test").unwrap();
        Self { svid, hint: hint.map(str::to_owned), entry, end: None }
    }
}

/// What a stream would be granted by these entries.
#[cfg(test)]
pub(super) fn granted_for_tests(
    identity: &Identity,
    attestation: &Attestation,
    entries: Vec<Arc<Entry>>,
) -> Result<usize, Refusal> {
    let bundles = Arc::clone(&identity.authority.bundles().borrow());
    HandedOut::default().content(identity, attestation, entries, &bundles).map(|granted| granted.entries.len())
}

/// Bytes of the task of a stream.
#[cfg(test)]
pub(super) fn task_bytes_for_tests(identity: &Arc<Identity>, peer: &Arc<Peer>) -> usize {
    identity.task_bytes_for_tests(peer, HandedOut::default())
}
