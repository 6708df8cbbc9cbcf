//! Bundles of trust domains: list, show, set, delete.

use std::sync::Arc;
use std::time::Duration;

use countersign_common::bundle::Bundle;
use countersign_common::proto::admin::bundles_server::Bundles;
use countersign_common::proto::admin::{
    BundleSummary, ChangeKind, DeleteBundleRequest, DeleteBundleResponse, GetBundleRequest, GetBundleResponse,
    ListBundlesRequest, ListBundlesResponse, SetBundleRequest, SetBundleResponse,
};
use countersign_common::spiffe_id::TrustDomain;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::operator::{Journal, Operator};
use super::{Access, federation, status};
use crate::authority::Authority as _;
use crate::authority::embedded::EmbeddedAuthority;
use crate::store::{Change, Store, StoreError};

/// How long a change may take from its commit to the bundles that workloads get.
const EFFECT_LIMIT: Duration = Duration::from_secs(10);

/// How many entries are named that federate with a deleted bundle; the others are counted.
const MAX_NAMED: usize = 100;

const SET: &str = "bundle_set";
const DELETE: &str = "bundle_delete";

/// The service for bundles.
pub(super) struct BundlesService {
    store: Store,
    authority: Arc<EmbeddedAuthority>,
    access: Access,
    journal: Journal,
    /// One change at a time: what is recorded before a commit is what the commit does.
    changing: Mutex<()>,
}

impl BundlesService {
    pub(super) fn new(store: Store, authority: Arc<EmbeddedAuthority>, access: Access, journal: Journal) -> Self {
        Self { store, authority, access, journal, changing: Mutex::new(()) }
    }

    /// In a line, with the number of entries that federate with it.
    fn summary(&self, bundle: &Bundle, entries: u64) -> BundleSummary {
        BundleSummary {
            trust_domain: bundle.trust_domain.to_string(),
            own: bundle.trust_domain == *self.authority.trust_domain(),
            sequence: bundle.sequence,
            jwt_keys: bundle.jwt_authorities.len() as u64,
            x509_keys: bundle.x509_authorities.len() as u64,
            refresh_hint_seconds: bundle.refresh_hint.as_secs(),
            entries,
        }
    }

    /// Waits until workloads get what was committed: an operator who is told that the keys of another
    /// trust domain are gone, or there, can rely on it. What is committed holds, however late.
    async fn take_effect(&self, trust_domain: &TrustDomain, bundle: Option<&Arc<Bundle>>) {
        let mut bundles = self.authority.bundles();
        let reached = bundles.wait_for(|set| set.foreign.get(trust_domain) == bundle);
        if tokio::time::timeout(EFFECT_LIMIT, reached).await.is_err() {
            tracing::warn!("a change of bundles is committed and takes effect late");
        }
    }

    /// What to answer when what was recorded did not happen.
    async fn not_done(&self, operator: Operator, event: &'static str, error: &StoreError) -> Status {
        self.journal.failed(operator, event, &error.to_string()).await;
        status::of_store(error)
    }
}

#[tonic::async_trait]
impl Bundles for BundlesService {
    async fn list(&self, _: Request<ListBundlesRequest>) -> Result<Response<ListBundlesResponse>, Status> {
        let set = Arc::clone(&self.authority.bundles().borrow());
        let entries = self.store.entries().borrow().clone();
        let counts = federation::counts(&entries);
        let count = |bundle: &Bundle| counts.get(&bundle.trust_domain).copied().unwrap_or(0);
        let bundles = std::iter::once(&set.own).chain(set.foreign.values());
        let bundles = bundles.map(|bundle| self.summary(bundle, count(bundle))).collect();
        Ok(Response::new(ListBundlesResponse { bundles }))
    }

    async fn show(&self, request: Request<GetBundleRequest>) -> Result<Response<GetBundleResponse>, Status> {
        let name = request.into_inner().trust_domain;
        let own = self.authority.trust_domain();
        let document = if name.is_empty() || name == own.as_str() {
            Arc::clone(&self.authority.bundles().borrow().own).to_spiffe_document()
        } else {
            let document = self.store.bundle_document(trust_domain(&name)?).await;
            document.map_err(|error| status::of_store(&error))?
        };
        Ok(Response::new(GetBundleResponse { document }))
    }

    async fn set(&self, request: Request<SetBundleRequest>) -> Result<Response<SetBundleResponse>, Status> {
        let operator = Operator::of(&request)?;
        self.access.may_set_bundles()?;
        let SetBundleRequest { trust_domain: name, document, force } = request.into_inner();
        let name = trust_domain(&name)?;
        let _changing = self.changing.lock().await;
        let planned = self.store.set_bundle(name.clone(), document.clone(), force, true).await;
        let planned = planned.map_err(|error| status::of_store(&error))?;
        let (kind, outcome, after) = match &planned {
            Change::Created(after) => (ChangeKind::Created, "created", after),
            Change::Updated { after, .. } => (ChangeKind::Updated, "updated", after),
            Change::Unchanged(same) | Change::Deleted(same) => (ChangeKind::Unchanged, "unchanged", same),
        };
        if kind != ChangeKind::Unchanged {
            self.journal.intends_for(operator, SET, outcome, &name, what_is_set(&planned, force)).await?;
            if let Err(error) = self.store.set_bundle(name.clone(), document, force, false).await {
                return Err(self.not_done(operator, SET, &error).await);
            }
            self.take_effect(&name, Some(after)).await;
        }
        let entries = self.store.entries().borrow().clone();
        let bundle = self.summary(after, federation::federating(&entries, &name).count() as u64);
        Ok(Response::new(SetBundleResponse { kind: kind.into(), bundle: Some(bundle) }))
    }

    async fn delete(&self, request: Request<DeleteBundleRequest>) -> Result<Response<DeleteBundleResponse>, Status> {
        let operator = Operator::of(&request)?;
        self.access.may_set_bundles()?;
        let name = trust_domain(&request.into_inner().trust_domain)?;
        let _changing = self.changing.lock().await;
        let planned = self.store.delete_bundle(name.clone(), true).await;
        let planned = planned.map_err(|error| status::of_store(&error))?;
        self.journal.intends_for(operator, DELETE, "deleted", &name, what_is_set(&planned, false)).await?;
        if let Err(error) = self.store.delete_bundle(name.clone(), false).await {
            return Err(self.not_done(operator, DELETE, &error).await);
        }
        self.take_effect(&name, None).await;
        let entries = self.store.entries().borrow().clone();
        let mut left: Vec<_> = federation::federating(&entries, &name).map(|entry| entry.id.to_string()).collect();
        let entries_left_out = left.len().saturating_sub(MAX_NAMED) as u64;
        left.truncate(MAX_NAMED);
        Ok(Response::new(DeleteBundleResponse { entries: left, entries_left_out }))
    }
}

fn trust_domain(name: &str) -> Result<TrustDomain, Status> {
    TrustDomain::parse(name).map_err(|error| Status::invalid_argument(format!("{name:?} {error}")))
}

/// The change in the words of a record: which bundle it was, which it is, and whether by force.
fn what_is_set(change: &Change<Bundle>, force: bool) -> String {
    let size = |bundle: &Bundle| {
        let (jwt, x509) = (bundle.jwt_authorities.len(), bundle.x509_authorities.len());
        format!("sequence {} with {jwt} JWT and {x509} X.509 keys", bundle.sequence)
    };
    match change {
        Change::Created(bundle) | Change::Deleted(bundle) | Change::Unchanged(bundle) => size(bundle),
        Change::Updated { before, after } => {
            let forced = if force { ", forced" } else { "" };
            format!("{}, before {}{forced}", size(after), size(before))
        }
    }
}
