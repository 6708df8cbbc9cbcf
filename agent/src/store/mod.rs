//! Records at rest: entries, bundles of other trust domains, sealed keys, revisions. One writer; each change is one transaction.
//!
//! One thread owns the database and the current sets of entries and bundles. It takes requests
//! from a bounded channel, plans what one changes, commits it (on disk before it answers), and then
//! publishes the new set by `watch`. Nobody else touches the file.

mod copy;
mod database;
mod error;
mod file;
mod foreign;
mod plan;
mod record;
mod restore;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use countersign_common::bundle::Bundle;
use countersign_common::entry::{Entry, EntryId, EntrySet};
use countersign_common::spiffe_id::TrustDomain;
use tokio::sync::{mpsc, oneshot, watch};

use self::file::Place;
use self::foreign::NewBundle;
use self::writer::{Request, Writer};
pub use error::StoreError;
pub use foreign::BundleRefusal;
pub use restore::Restoring;

/// Requests that wait for the writer; who comes when there are as many waits to be let in.
const MAX_WAITING_REQUESTS: usize = 16;

/// The embedded database, on disk or in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    requests: mpsc::Sender<Request>,
    entries: watch::Receiver<Arc<EntrySet>>,
    bundles: watch::Receiver<Arc<ForeignBundles>>,
}

/// Bundles of other trust domains, as operators set them.
pub type ForeignBundles = BTreeMap<TrustDomain, Arc<Bundle>>;

/// What one commit did to one entry, or to one bundle.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<T = Entry> {
    /// New.
    Created(Arc<T>),
    /// Different from before.
    Updated {
        /// As it was.
        before: Arc<T>,
        /// As it is.
        after: Arc<T>,
    },
    /// Gone.
    Deleted(Arc<T>),
    /// The same as before.
    Unchanged(Arc<T>),
}

/// What a commit did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The revision that holds now.
    pub revision: u64,
    /// One change for each entry concerned, in the order of their ids.
    pub changes: Vec<Change>,
}

impl Store {
    /// Opens the database file, or creates it where there is none; never over a file that is there.
    ///
    /// Blocks until the whole file is read and checked. The directory must exist and be
    /// writable by the agent's user only; the file has mode 0600.
    ///
    /// # Errors
    /// The file or its directory cannot be used; the message says why and what to do.
    pub fn open(path: &Path, trust_domain: &TrustDomain) -> Result<Self, StoreError> {
        Self::start(Place::File(path.to_owned()), trust_domain)
    }

    /// An empty store that is gone with the process.
    ///
    /// # Errors
    /// The machine has no room for it.
    pub fn in_memory(trust_domain: &TrustDomain) -> Result<Self, StoreError> {
        Self::start(Place::Memory, trust_domain)
    }

    fn start(place: Place, trust_domain: &TrustDomain) -> Result<Self, StoreError> {
        let (requests, inbox) = mpsc::channel(MAX_WAITING_REQUESTS);
        let writer = Writer::open(place, trust_domain)?;
        let (entries, bundles) = writer.subscribe();
        writer.spawn(inbox)?;
        Ok(Self { requests, entries, bundles })
    }

    /// The entries of the latest revision, and news of each later one.
    pub fn entries(&self) -> watch::Receiver<Arc<EntrySet>> {
        self.entries.clone()
    }

    /// The bundles of other trust domains, and news of each change.
    pub fn foreign_bundles(&self) -> watch::Receiver<Arc<ForeignBundles>> {
        self.bundles.clone()
    }

    /// Sets the bundle of another trust domain to `document`, a SPIFFE bundle document or JWK Set. With
    /// `force` it may be older than the one that is set; with `dry_run` nothing is committed.
    ///
    /// # Errors
    /// Nothing was committed: [`StoreError::Bundle`] says why the document is refused; after
    /// [`StoreError::Write`] the request is to be made again.
    pub async fn set_bundle(
        &self,
        trust_domain: TrustDomain,
        document: String,
        force: bool,
        dry_run: bool,
    ) -> Result<Change<Bundle>, StoreError> {
        let new = NewBundle { trust_domain, document, force };
        self.ask(|reply| Request::SetBundle { new, dry_run, reply }).await
    }

    /// Deletes the bundle of another trust domain. With `dry_run` nothing is committed.
    ///
    /// # Errors
    /// Nothing was deleted; [`StoreError::Bundle`] if there is none.
    pub async fn delete_bundle(&self, trust_domain: TrustDomain, dry_run: bool) -> Result<Change<Bundle>, StoreError> {
        self.ask(|reply| Request::DeleteBundle { trust_domain, dry_run, reply }).await
    }

    /// The bundle of another trust domain as it was set, byte for byte.
    ///
    /// # Errors
    /// [`StoreError::Bundle`] if none is set.
    pub async fn bundle_document(&self, trust_domain: TrustDomain) -> Result<String, StoreError> {
        self.ask(|reply| Request::BundleDocument { trust_domain, reply }).await
    }

    /// Creates and updates entries in one transaction. With `prune`, entries that are not
    /// among `entries` are deleted. With `dry_run` nothing is committed.
    ///
    /// A request that changes nothing commits nothing and leaves the revision as it is.
    ///
    /// # Errors
    /// Nothing was committed; after [`StoreError::Write`] the request is to be made again.
    pub async fn apply(&self, entries: Vec<Entry>, prune: bool, dry_run: bool) -> Result<Applied, StoreError> {
        self.ask(|reply| Request::Apply { entries, prune, dry_run, reply }).await
    }

    /// Deletes entries in one transaction.
    ///
    /// # Errors
    /// Nothing was deleted; `NoSuchEntry` if one of them does not exist.
    pub async fn delete(&self, ids: Vec<EntryId>) -> Result<Applied, StoreError> {
        self.ask(|reply| Request::Delete { ids, dry_run: false, reply }).await
    }

    /// What [`Self::delete`] would do; nothing is deleted.
    ///
    /// # Errors
    /// `NoSuchEntry` if one of them does not exist.
    pub async fn delete_planned(&self, ids: Vec<EntryId>) -> Result<Applied, StoreError> {
        self.ask(|reply| Request::Delete { ids, dry_run: true, reply }).await
    }

    /// The authority's state as it was last saved, sealed by its owner; `None` in a new store.
    ///
    /// # Errors
    /// The record cannot be read.
    pub async fn authority_state(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(Request::AuthorityState).await
    }

    /// Saves the authority's state; on disk when this returns.
    ///
    /// # Errors
    /// The state before is still there; after [`StoreError::Write`] it is one of the two.
    pub async fn save_authority_state(&self, sealed: Vec<u8>) -> Result<(), StoreError> {
        self.ask(|reply| Request::SaveAuthorityState { sealed, reply }).await
    }

    /// A copy of the database as of now, to be read from its start; it has no name.
    ///
    /// # Errors
    /// Nothing is kept on disk, or there is no room for a copy beside the database.
    pub async fn copy(&self) -> Result<File, StoreError> {
        self.ask(Request::Copy).await
    }

    /// Closes the database after the requests that came before; every later request is refused.
    /// A store that is not closed loses nothing: the next start only has more to check.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.requests.send(Request::Close { reply }).await.is_ok() {
            // An error here means that the writer is gone, which is what was asked for.
            let _ = closed.await;
        }
    }

    /// Sends one request and waits for the writer's answer.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}
