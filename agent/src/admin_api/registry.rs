//! Registration entries, as operators apply, list and delete them.

use std::sync::Arc;

use countersign_common::entry::{Entry, EntryId, parse_sources, to_yaml};
use countersign_common::proto::admin::registry_server::Registry;
use countersign_common::proto::admin::{
    ApplyRequest, ApplyResponse, Change as WireChange, ChangeKind, DeleteRequest, ListRequest, ListResponse,
};
use tonic::{Request, Response, Status};

use super::Admin;
use crate::authority::Authority;
use crate::store::{Applied, Change, StoreError};

#[tonic::async_trait]
impl Registry for Admin {
    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        let dry_run = request.get_ref().dry_run;
        let peer = if dry_run { self.operator(&request)? } else { self.writer(&request)? };
        let ApplyRequest { sources, prune, .. } = request.into_inner();
        let sources: Vec<_> = sources.iter().map(|source| (source.name.as_str(), source.text.as_str())).collect();
        let entries = parse_sources(&sources, Some(self.authority.trust_domain())).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Status::invalid_argument(lines.join("\n"))
        })?;
        if !dry_run {
            let plan = self.store.apply(entries.clone(), prune, true).await.map_err(of_store)?;
            self.record("entry_apply", "accepted", &peer, summary(&plan))?;
        }
        let applied = self.store.apply(entries, prune, dry_run).await.map_err(of_store)?;
        Ok(Response::new(to_wire(&applied)))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        self.operator(&request)?;
        let ids = parse_ids(&request.into_inner().ids)?;
        let set = Arc::clone(&self.store.entries().borrow());
        let wanted = |entry: &&Arc<Entry>| ids.is_empty() || ids.contains(&entry.id);
        let entries: Vec<_> = set.entries.iter().filter(wanted).collect();
        if let Some(missing) = ids.iter().find(|id| entries.iter().all(|entry| entry.id != **id)) {
            return Err(of_store(StoreError::NoSuchEntry(missing.clone())));
        }
        let entries = entries.into_iter().map(|entry| to_yaml(entry)).collect();
        Ok(Response::new(ListResponse { revision: set.revision, entries }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<ApplyResponse>, Status> {
        let peer = self.writer(&request)?;
        let ids = parse_ids(&request.into_inner().ids)?;
        let listed: Vec<_> = ids.iter().map(EntryId::as_str).collect();
        self.record("entry_delete", "accepted", &peer, listed.join(", "))?;
        let applied = self.store.delete(ids).await.map_err(of_store)?;
        Ok(Response::new(to_wire(&applied)))
    }
}

fn parse_ids(ids: &[String]) -> Result<Vec<EntryId>, Status> {
    let parse =
        |id: &String| EntryId::parse(id).ok_or_else(|| Status::invalid_argument(format!("{id:?} is not an entry id")));
    ids.iter().map(parse).collect()
}

fn of_store(error: StoreError) -> Status {
    match error {
        StoreError::NoSuchEntry(_) => Status::not_found(error.to_string()),
        _ => Status::unavailable(error.to_string()),
    }
}

/// For the audit record: which entries, and what becomes of them.
fn summary(plan: &Applied) -> String {
    let changed = plan.changes.iter().filter_map(|change| match change {
        Change::Created(entry) => Some(format!("creates {}", entry.id)),
        Change::Updated { after, .. } => Some(format!("updates {}", after.id)),
        Change::Deleted(entry) => Some(format!("deletes {}", entry.id)),
        Change::Unchanged(_) => None,
    });
    changed.collect::<Vec<_>>().join(", ")
}

fn to_wire(applied: &Applied) -> ApplyResponse {
    ApplyResponse { revision: applied.revision, changes: applied.changes.iter().map(change_to_wire).collect() }
}

fn change_to_wire(change: &Change) -> WireChange {
    let (kind, before, after) = match change {
        Change::Created(entry) => (ChangeKind::Created, None, Some(entry)),
        Change::Updated { before, after } => (ChangeKind::Updated, Some(before), Some(after)),
        Change::Deleted(entry) => (ChangeKind::Deleted, Some(entry), None),
        Change::Unchanged(entry) => (ChangeKind::Unchanged, Some(entry), Some(entry)),
    };
    let text = |entry: Option<&Arc<Entry>>| entry.map(|entry| to_yaml(entry)).unwrap_or_default();
    let id = before.or(after).map(|entry| entry.id.to_string()).unwrap_or_default();
    WireChange { id, kind: kind.into(), before: text(before), after: text(after) }
}
