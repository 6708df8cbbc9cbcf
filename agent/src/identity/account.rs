//! The account of one request: what was found out and how long each stage took, which
//! becomes the audit record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use countersign_common::clock::Clock;
use countersign_common::entry::EntryId;
use countersign_common::spiffe_id::SpiffeId;

use super::{Identity, IssuedJwt, IssuedX509, Refusal};
use crate::attest::{Attestation, Attestors};
use crate::audit::{Audit, AuditError, Caller, Record, Stages};
use crate::peer::Peer;
use crate::registry::Snapshot;
use crate::weakened::Protection;

/// A stage whose time is recorded.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Attest,
    Hold,
    Match,
    Authorize,
    Issue,
}

/// On which terms one SVID was issued.
pub(super) struct Terms {
    pub(super) entry: EntryId,
    pub(super) reused: bool,
}

/// Becomes one audit record, or one an SVID. An account that is dropped without an end,
/// since its caller went away, is recorded too.
pub(super) struct Account {
    record: Record,
    audit: Arc<Audit>,
    clock: Arc<dyn Clock>,
    told: bool,
}

impl Account {
    /// Begins the account of what `peer` asks for. Until it is attested, its uid is that
    /// of `connect`.
    pub(super) fn open(
        identity: &Identity,
        event: &'static str,
        peer: &Peer,
        audiences: &[String],
        spiffe_id: Option<&SpiffeId>,
    ) -> Self {
        let caller = Caller { pid: peer.pid(), uid: peer.connected_as().uid, ..Caller::default() };
        let spiffe_id = spiffe_id.map(ToString::to_string);
        let record =
            Record { event, whom: caller.into(), audience: audiences.to_vec(), spiffe_id, ..Record::default() };
        Self { record, audit: Arc::clone(&identity.audit), clock: Arc::clone(&identity.clock), told: false }
    }

    /// Attests, and notes what was found. A peer that was attested `before` has to be the same still.
    pub(super) async fn attest(
        &mut self,
        attestors: &Attestors,
        peer: &Arc<Peer>,
        before: Option<&Attestation>,
        snapshot: &Snapshot,
    ) -> Result<Attestation, Refusal> {
        let worth_telling = |selectors: &BTreeSet<_>, told: &BTreeSet<_>| snapshot.worth_telling(selectors, told);
        let attesting = async {
            match before {
                Some(before) => attestors.attest_again(before, worth_telling).await,
                None => attestors.attest(peer, worth_telling).await,
            }
        };
        let attestation = self.time_async(Stage::Attest, attesting).await?;
        self.note(&attestation);
        Ok(attestation)
    }

    /// Notes what is known of the caller.
    pub(super) fn note(&mut self, attestation: &Attestation) {
        self.record.whom = attestation.whom();
    }

    pub(super) fn time<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let done = work();
        self.add(stage, begin);
        done
    }

    pub(super) async fn time_async<T>(&mut self, stage: Stage, work: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let done = work.await;
        self.add(stage, begin);
        done
    }

    /// A stage that is gone through twice (a held caller) counts in sum.
    fn add(&mut self, stage: Stage, begin: Instant) {
        let spent = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Stages { attest, hold, r#match, authorize, issue } = &mut self.record.duration_us;
        let sum = match stage {
            Stage::Attest => attest,
            Stage::Hold => hold,
            Stage::Match => r#match,
            Stage::Authorize => authorize,
            Stage::Issue => issue,
        };
        *sum = sum.saturating_add(spent);
    }

    /// Records each SVID. If one record cannot be written, nothing is issued.
    pub(super) async fn issued(mut self, issued: &[(IssuedJwt, Terms)]) -> Result<(), Refusal> {
        for (IssuedJwt { svid, .. }, terms) in issued {
            self.record_issue(Record {
                entry: Some(terms.entry.to_string()),
                spiffe_id: Some(svid.claims.sub.to_string()),
                jti: Some(svid.claims.jti.clone()),
                expires: Some(svid.claims.exp.to_string()),
                reused: terms.reused,
                ..self.record.clone()
            })
            .await?;
        }
        Ok(())
    }

    /// The same for X509-SVIDs, each with the serial number of the one that it takes the place of.
    pub(super) async fn issued_x509(&mut self, issued: &[(&IssuedX509, Option<String>)]) -> Result<(), Refusal> {
        for (IssuedX509 { svid, entry, .. }, replaces) in issued {
            self.record_issue(Record {
                entry: Some(entry.to_string()),
                spiffe_id: Some(svid.spiffe_id.to_string()),
                serial: Some(svid.serial.clone()),
                replaces: replaces.clone(),
                authority: Some(svid.authority.clone()),
                expires: Some(svid.not_after.to_string()),
                ..self.record.clone()
            })
            .await?;
        }
        Ok(())
    }

    async fn record_issue(&mut self, record: Record) -> Result<(), Refusal> {
        let record = Record { time: self.clock.now().to_string(), outcome: "issued", ..record };
        let written = self.audit.record(record).await;
        // Only now: a caller that goes away while this is written is recorded as gone.
        self.told = true;
        if !Protection::Recorded.is_out() {
            written?;
        }
        Ok(())
    }

    /// Records that something other than an SVID was given or said.
    pub(super) async fn answered(&mut self, outcome: &'static str) -> Result<(), Refusal> {
        Ok(self.conclude(outcome).await?)
    }

    /// Nothing was given or said: what was told before still holds, and is recorded.
    pub(super) fn nothing_new(&mut self) {
        self.told = true;
    }

    async fn conclude(&mut self, outcome: &'static str) -> Result<(), AuditError> {
        let record = Record { time: self.clock.now().to_string(), outcome, ..self.record.clone() };
        let written = self.audit.record(record).await;
        self.told = true;
        written
    }

    /// Notes about which token the account is.
    pub(super) fn about_token(&mut self, spiffe_id: &SpiffeId, jti: Option<&str>) {
        self.record.spiffe_id = Some(spiffe_id.to_string());
        self.record.jti = jti.map(str::to_owned);
    }

    /// Notes why the answer is what it is.
    pub(super) fn because(&mut self, reason: String) {
        self.record.reason = reason;
    }

    /// Records a refusal and gives it back. A refusal stands even if its record cannot
    /// be written: that is logged, and failing closed is what a refusal does anyway.
    pub(super) async fn refused(self, refusal: Refusal) -> Refusal {
        self.denied("refused", refusal).await
    }

    /// The same for what is tried again, while what was given before serves.
    pub(super) async fn failed(self, refusal: Refusal) -> Refusal {
        self.denied("failed", refusal).await
    }

    /// The same for what was given before and is given no more.
    pub(super) async fn ended(self, refusal: Refusal) -> Refusal {
        self.denied("ended", refusal).await
    }

    async fn denied(mut self, outcome: &'static str, refusal: Refusal) -> Refusal {
        self.record.reason = refusal.to_string();
        if let Err(error) = self.conclude(outcome).await {
            tracing::error!(%error, %refusal, "a refusal could not be recorded");
        }
        refusal
    }
}

impl Drop for Account {
    /// A caller that goes away takes the work for it along, wherever it was waiting.
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let reason = "the caller went away before it was answered".to_owned();
        let time = self.clock.now().to_string();
        let _ = self.audit.record_later(Record { time, outcome: "abandoned", reason, ..self.record.clone() });
    }
}
