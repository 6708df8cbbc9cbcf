//! Entries: apply, list, delete.

use std::sync::Arc;
use std::time::Duration;

use countersign_common::entry::{Entry, EntryId, parse_sources, to_yaml};
use countersign_common::proto::admin::registry_server::Registry;
use countersign_common::proto::admin::{
    self, ApplyRequest, ApplyResponse, ChangeKind, DeleteRequest, ListRequest, ListResponse,
};
use tokio::sync::{Mutex, watch};
use tonic::{Request, Response, Status};

use super::operator::{Journal, Operator};
use super::{Access, federation, status};
use crate::authority::Authority as _;
use crate::authority::embedded::EmbeddedAuthority;
use crate::registry::Snapshot;
use crate::store::{Applied, Change, Store, StoreError};

/// How long a change may take from its commit to the requests that it decides.
const EFFECT_LIMIT: Duration = Duration::from_secs(10);

/// The service for entries.
pub(super) struct RegistryService {
    store: Store,
    published: watch::Receiver<Arc<Snapshot>>,
    authority: Arc<EmbeddedAuthority>,
    access: Access,
    journal: Journal,
    /// One change at a time: what is recorded before a commit is what the commit does.
    changing: Mutex<()>,
}

impl RegistryService {
    pub(super) fn new(
        store: Store,
        published: watch::Receiver<Arc<Snapshot>>,
        authority: Arc<EmbeddedAuthority>,
        access: Access,
        journal: Journal,
    ) -> Self {
        Self { store, published, authority, access, journal, changing: Mutex::new(()) }
    }

    /// Waits until workloads are matched to what was applied: an operator who is told that an entry
    /// is gone, or there, can rely on it. What is committed holds, however late.
    async fn take_effect(&self, applied: Applied) -> Applied {
        let mut published = self.published.clone();
        let reached = published.wait_for(|snapshot| snapshot.revision() >= applied.revision);
        if tokio::time::timeout(EFFECT_LIMIT, reached).await.is_err() {
            tracing::warn!("a change of entries is committed and takes effect late");
        }
        applied
    }

    fn parse(&self, request: &ApplyRequest) -> Result<Vec<Entry>, Status> {
        let sources: Vec<_> = request.sources.iter().map(|s| (s.name.as_str(), s.text.as_str())).collect();
        let parsed = parse_sources(&sources, Some(self.authority.trust_domain()));
        #[cfg(feature = "weakened")]
        let parsed = parsed.or_else(|problems| super::weakened_entries::readable(&sources).ok_or(problems));
        let entries = parsed.map_err(|problems| status::of_problems(&problems))?;
        if request.prune && entries.is_empty() {
            return Err(Status::invalid_argument(
                "there is no entry in what was sent, and prune would delete every entry of the agent; \
                 if that is meant, use: countersign entry delete",
            ));
        }
        Ok(entries)
    }

    /// Records each change, then makes them all; a record that cannot be kept leaves all undone.
    async fn apply_recorded(&self, operator: Operator, entries: Vec<Entry>, prune: bool) -> Result<Applied, Status> {
        let _changing = self.changing.lock().await;
        let planned = self.store.apply(entries.clone(), prune, true).await.map_err(|error| status::of_store(&error))?;
        self.record(operator, &planned.changes).await?;
        match self.store.apply(entries, prune, false).await {
            Ok(applied) => Ok(self.take_effect(applied).await),
            Err(error) => Err(self.not_done(operator, "entry_apply", &error).await),
        }
    }

    /// What to answer when what was recorded did not happen.
    async fn not_done(&self, operator: Operator, event: &'static str, error: &StoreError) -> Status {
        self.journal.failed(operator, event, &error.to_string()).await;
        status::of_store(error)
    }

    async fn record(&self, operator: Operator, changes: &[Change]) -> Result<(), Status> {
        for change in changes {
            let (event, outcome, entry) = match change {
                Change::Created(entry) => ("entry_apply", "created", entry),
                Change::Updated { after, .. } => ("entry_apply", "updated", after),
                Change::Deleted(entry) => ("entry_delete", "deleted", entry),
                Change::Unchanged(_) => continue,
            };
            self.journal.intends(operator, event, outcome, Some(entry)).await?;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Registry for RegistryService {
    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        if !request.dry_run {
            self.access.may_write()?;
        }
        let entries = self.parse(&request)?;
        let applied = if request.dry_run {
            let planned = self.store.apply(entries, request.prune, true).await;
            planned.map_err(|error| status::of_store(&error))?
        } else {
            self.apply_recorded(operator, entries, request.prune).await?
        };
        let warnings = federation::warnings(entries_of(&applied), &self.store.foreign_bundles().borrow());
        Ok(Response::new(ApplyResponse { warnings, ..response(&applied) }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let ids = ids(&request.into_inner().ids)?;
        let set = self.store.entries().borrow().clone();
        let find = |id: &EntryId| {
            let at = set.entries.binary_search_by(|entry| entry.id.cmp(id));
            at.map(|at| &set.entries[at]).map_err(|_| status::of_store(&StoreError::NoSuchEntry(id.clone())))
        };
        let entries: Vec<&Arc<Entry>> = if ids.is_empty() {
            set.entries.iter().collect()
        } else {
            ids.iter().map(find).collect::<Result<_, _>>()?
        };
        let entries = entries.into_iter().map(|entry| to_yaml(entry)).collect();
        Ok(Response::new(ListResponse { revision: set.revision, entries }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<ApplyResponse>, Status> {
        let operator = Operator::of(&request)?;
        self.access.may_write()?;
        let ids = ids(&request.into_inner().ids)?;
        if ids.is_empty() {
            return Err(Status::invalid_argument("name the entries to delete by their ids"));
        }
        let _changing = self.changing.lock().await;
        let planned = self.store.delete_planned(ids.clone()).await.map_err(|error| status::of_store(&error))?;
        self.record(operator, &planned.changes).await?;
        match self.store.delete(ids).await {
            Ok(deleted) => Ok(Response::new(response(&self.take_effect(deleted).await))),
            Err(error) => Err(self.not_done(operator, "entry_delete", &error).await),
        }
    }
}

/// Ids as they came, sorted, each once.
fn ids(texts: &[String]) -> Result<Vec<EntryId>, Status> {
    let parse = |text: &String| {
        EntryId::parse(text).ok_or_else(|| {
            Status::invalid_argument(format!("{text:?} is not an entry id: 1 to 128 bytes of a-z A-Z 0-9 . - _ /"))
        })
    };
    let mut ids: Vec<EntryId> = texts.iter().map(parse).collect::<Result<_, _>>()?;
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// The entries that were applied, whether that changed them or not.
fn entries_of(applied: &Applied) -> impl Iterator<Item = &Arc<Entry>> {
    applied.changes.iter().filter_map(|change| match change {
        Change::Created(entry) | Change::Updated { after: entry, .. } | Change::Unchanged(entry) => Some(entry),
        Change::Deleted(_) => None,
    })
}

fn response(applied: &Applied) -> ApplyResponse {
    let change = |change: &Change| {
        let (kind, before, after) = match change {
            Change::Created(entry) => (ChangeKind::Created, None, Some(entry)),
            Change::Updated { before, after } => (ChangeKind::Updated, Some(before), Some(after)),
            Change::Deleted(entry) => (ChangeKind::Deleted, Some(entry), None),
            Change::Unchanged(entry) => (ChangeKind::Unchanged, Some(entry), Some(entry)),
        };
        let yaml = |entry: Option<&Arc<Entry>>| entry.map(|entry| to_yaml(entry)).unwrap_or_default();
        let id = before.or(after).map(|entry| entry.id.to_string()).unwrap_or_default();
        admin::Change { id, kind: kind.into(), before: yaml(before), after: yaml(after) }
    };
    let changes = applied.changes.iter().map(change).collect();
    ApplyResponse { revision: applied.revision, changes, warnings: vec![] }
}
