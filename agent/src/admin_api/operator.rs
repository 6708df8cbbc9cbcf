//! Who asked, and the record of what they changed.

use std::sync::Arc;

use countersign_common::clock::Clock;
use countersign_common::entry::Entry;
use countersign_common::spiffe_id::TrustDomain;
use tokio::task::JoinHandle;
use tonic::{Request, Status};

use crate::audit::{Audit, Caller, Record};
use crate::weakened::Protection;

/// The process that asked, as of its `connect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    /// Its pid, for people.
    pub(super) pid: i32,
    /// Its effective user id.
    pub(super) uid: u32,
}

impl Operator {
    /// Whom the gate let in with this request.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let operator = request.extensions().get::<Self>().copied();
        operator.ok_or_else(|| Status::permission_denied("nobody says who is asking"))
    }
}

/// Writes down what operators change, in the audit record and in the log.
#[derive(Clone)]
pub(super) struct Journal {
    audit: Arc<Audit>,
    clock: Arc<dyn Clock>,
}

impl Journal {
    pub(super) fn new(audit: Arc<Audit>, clock: Arc<dyn Clock>) -> Self {
        Self { audit, clock }
    }

    /// Records that `event` is about to happen; it may happen only if this succeeds.
    pub(super) async fn intends(
        &self,
        operator: Operator,
        event: &'static str,
        outcome: &'static str,
        entry: Option<&Entry>,
    ) -> Result<(), Status> {
        let mut record = self.record_of(operator, event, outcome);
        record.entry = entry.map(|entry| entry.id.to_string());
        record.spiffe_id = entry.map(|entry| entry.spiffe_id.to_string());
        self.write(record).await
    }

    /// Records that `event` is about to happen to a signing key, or to one of each of the kinds
    /// that `key` names; it may happen only if this succeeds.
    pub(super) async fn intends_to_key(
        &self,
        operator: Operator,
        event: &'static str,
        outcome: &'static str,
        key: &str,
    ) -> Result<(), Status> {
        self.write(Record { key: Some(key.to_owned()), ..self.record_of(operator, event, outcome) }).await
    }

    /// As [`Self::intends`], for a change that concerns `trust_domain`; `what` says what it is.
    pub(super) async fn intends_for(
        &self,
        operator: Operator,
        event: &'static str,
        outcome: &'static str,
        trust_domain: &TrustDomain,
        what: String,
    ) -> Result<(), Status> {
        let spiffe_id = Some(trust_domain.id().to_string());
        self.write(Record { spiffe_id, reason: what, ..self.record_of(operator, event, outcome) }).await
    }

    async fn write(&self, record: Record) -> Result<(), Status> {
        let (event, outcome, pid, uid) =
            (record.event, record.outcome, record.whom.caller().pid, record.whom.caller().uid);
        let (entry, spiffe_id, kid) = (record.entry.clone(), record.spiffe_id.clone(), record.key.clone());
        if let Err(error) = self.audit.record(record).await
            && !Protection::Recorded.is_out()
        {
            tracing::error!(%error, pid, uid, "{event} is refused: it cannot be recorded");
            return Err(Status::unavailable(format!("nothing was changed: {error}")));
        }
        tracing::info!(entry, spiffe_id, kid, pid, uid, "an operator's {event}: {outcome}");
        Ok(())
    }

    /// Records that what was recorded before did not happen; returns when that is written, so that
    /// it stands before the records of whatever the operator does next.
    pub(super) async fn failed(&self, operator: Operator, event: &'static str, reason: &str) {
        if let Some(written) = self.note(operator, event, "failed", reason) {
            // A record that could not be written was logged; the failure stands without it.
            let _ = written.await;
        }
    }

    /// Records that somebody was not let in.
    pub(super) fn refused(&self, operator: Operator, reason: &str) {
        // An interceptor cannot wait.
        let _ = self.note(operator, "admin_request", "refused", reason);
    }

    /// Records what changes nothing: the refusal stands whether it could be recorded or not.
    fn note(
        &self,
        operator: Operator,
        event: &'static str,
        outcome: &'static str,
        reason: &str,
    ) -> Option<JoinHandle<()>> {
        let Operator { pid, uid } = operator;
        tracing::warn!(refusal = reason, pid, uid, "an operator's {event}: {outcome}");
        let record = Record { reason: reason.to_owned(), ..self.record_of(operator, event, outcome) };
        self.audit.record_later(record)
    }

    fn record_of(&self, operator: Operator, event: &'static str, outcome: &'static str) -> Record {
        let caller = Caller { pid: operator.pid, uid: operator.uid, ..Caller::default() };
        Record { time: self.clock.now().to_string(), event, outcome, whom: caller.into(), ..Record::default() }
    }
}
