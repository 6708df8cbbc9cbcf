//! The one thread that owns the database and the current sets of entries and bundles.

use std::fs::File;
use std::sync::Arc;
use std::{io, thread};

use countersign_common::bundle::Bundle;
use countersign_common::entry::{Entry, EntryId, EntrySet};
use countersign_common::spiffe_id::TrustDomain;
use tokio::sync::{mpsc, oneshot, watch};

use super::database::Database;
use super::file::{self, Place};
use super::foreign::{self, BundleRefusal, NewBundle};
use super::{Applied, Change, ForeignBundles, StoreError, copy, plan};
use crate::weakened::Protection;

/// Where an answer goes.
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Everything that can be asked of the writer.
#[derive(Debug)]
pub(super) enum Request {
    /// Create and update, with `prune` also delete.
    Apply { entries: Vec<Entry>, prune: bool, dry_run: bool, reply: Reply<Applied> },
    /// Delete.
    Delete { ids: Vec<EntryId>, dry_run: bool, reply: Reply<Applied> },
    /// Create or replace the bundle of another trust domain.
    SetBundle { new: NewBundle, dry_run: bool, reply: Reply<Change<Bundle>> },
    /// Delete one.
    DeleteBundle { trust_domain: TrustDomain, dry_run: bool, reply: Reply<Change<Bundle>> },
    /// Read one as it was set.
    BundleDocument { trust_domain: TrustDomain, reply: Reply<String> },
    /// Read the authority's state.
    AuthorityState(Reply<Option<Vec<u8>>>),
    /// Write the authority's state.
    SaveAuthorityState { sealed: Vec<u8>, reply: Reply<()> },
    /// Copy the database.
    Copy(Reply<File>),
    /// Close the database and end.
    Close { reply: oneshot::Sender<()> },
}

/// The owner of the database.
pub(super) struct Writer {
    place: Place,
    trust_domain: TrustDomain,
    /// `None` after a failed write: what the file holds is then read anew before the next request.
    database: Option<Database>,
    entries: watch::Sender<Arc<EntrySet>>,
    bundles: watch::Sender<Arc<ForeignBundles>>,
}

impl Writer {
    /// Opens the database and publishes what it holds.
    pub(super) fn open(place: Place, trust_domain: &TrustDomain) -> Result<Self, StoreError> {
        let (database, contents) = file::open(&place, trust_domain)?;
        Ok(Self {
            place,
            trust_domain: trust_domain.clone(),
            database: Some(database),
            entries: watch::Sender::new(Arc::new(contents.entries)),
            bundles: watch::Sender::new(Arc::new(contents.bundles)),
        })
    }

    /// Where the entries and the bundles of each commit are told.
    pub(super) fn subscribe(&self) -> (watch::Receiver<Arc<EntrySet>>, watch::Receiver<Arc<ForeignBundles>>) {
        (self.entries.subscribe(), self.bundles.subscribe())
    }

    /// Serves requests in a thread of its own until all senders are gone or one asks to close.
    pub(super) fn spawn(mut self, mut inbox: mpsc::Receiver<Request>) -> Result<(), StoreError> {
        let path = self.place.path().to_owned();
        let serve = move || {
            while let Some(request) = inbox.blocking_recv() {
                if let Request::Close { reply } = request {
                    drop(self);
                    // Whoever asked may have gone away; the database is closed all the same.
                    let _ = reply.send(());
                    return;
                }
                self.serve(request);
            }
        };
        let spawned = thread::Builder::new().name("store".to_owned()).spawn(serve);
        spawned.map(drop).map_err(|source: io::Error| StoreError::File { doing: "start the writer of", path, source })
    }

    /// Answers one request. An asker who has gone away misses the answer, not the effect.
    fn serve(&mut self, request: Request) {
        match request {
            Request::Apply { entries, prune, dry_run, reply } => {
                let _ = reply.send(self.apply(entries, prune, dry_run));
            }
            Request::Delete { ids, dry_run, reply } => {
                let _ = reply.send(self.delete(ids, dry_run));
            }
            Request::SetBundle { new, dry_run, reply } => {
                let _ = reply.send(self.set_bundle(&new, dry_run));
            }
            Request::DeleteBundle { trust_domain, dry_run, reply } => {
                let _ = reply.send(self.delete_bundle(&trust_domain, dry_run));
            }
            Request::BundleDocument { trust_domain, reply } => {
                let _ = reply.send(self.bundle_document(&trust_domain));
            }
            Request::AuthorityState(reply) => {
                let _ = reply.send(self.with_database(|database| database.authority_state()));
            }
            Request::SaveAuthorityState { sealed, reply } => {
                let _ = reply.send(self.with_database(|database| database.save_authority_state(&sealed)));
            }
            Request::Copy(reply) => {
                let _ = reply.send(self.copy());
            }
            Request::Close { reply } => drop(reply),
        }
    }

    fn apply(&mut self, entries: Vec<Entry>, prune: bool, dry_run: bool) -> Result<Applied, StoreError> {
        self.reopen()?;
        let current = self.entries.borrow().clone();
        let changes = plan::apply(&current, entries, prune)?;
        if dry_run { Ok(Applied { revision: current.revision, changes }) } else { self.commit(&current, changes) }
    }

    fn delete(&mut self, ids: Vec<EntryId>, dry_run: bool) -> Result<Applied, StoreError> {
        self.reopen()?;
        let current = self.entries.borrow().clone();
        let changes = plan::delete(&current, ids)?;
        if dry_run { Ok(Applied { revision: current.revision, changes }) } else { self.commit(&current, changes) }
    }

    /// A failure is that of the copy, and says nothing about the database.
    fn copy(&mut self) -> Result<File, StoreError> {
        self.reopen()?;
        let Some(database) = &self.database else { return Err(StoreError::Closed) };
        copy::copy(database, &self.place)
    }

    /// Makes the changes durable, then public: nobody is served an entry that a crash could take back.
    fn commit(&mut self, current: &EntrySet, changes: Vec<Change>) -> Result<Applied, StoreError> {
        if changes.iter().all(|change| matches!(change, Change::Unchanged(_))) {
            return Ok(Applied { revision: current.revision, changes });
        }
        let revision = current.revision.saturating_add(1);
        if !Protection::Durable.is_out() {
            self.with_database(|database| database.write_entries(revision, &changes))?;
        }
        self.entries.send_replace(Arc::new(EntrySet { revision, entries: plan::after(current, &changes) }));
        Ok(Applied { revision, changes })
    }

    fn set_bundle(&mut self, new: &NewBundle, dry_run: bool) -> Result<Change<Bundle>, StoreError> {
        let stored = self.with_database(|database| database.bundle_document(&new.trust_domain))?;
        let current = self.bundles.borrow().clone();
        let change = foreign::set(&current, stored.as_deref(), new, &self.trust_domain)?;
        if dry_run { Ok(change) } else { self.commit_bundle(&current, change, &new.document) }
    }

    fn delete_bundle(&mut self, trust_domain: &TrustDomain, dry_run: bool) -> Result<Change<Bundle>, StoreError> {
        self.reopen()?;
        let current = self.bundles.borrow().clone();
        let change = foreign::delete(&current, trust_domain, &self.trust_domain)?;
        if dry_run { Ok(change) } else { self.commit_bundle(&current, change, "") }
    }

    fn bundle_document(&mut self, trust_domain: &TrustDomain) -> Result<String, StoreError> {
        let document = self.with_database(|database| database.bundle_document(trust_domain))?;
        Ok(document.ok_or_else(|| BundleRefusal::NoSuchBundle(trust_domain.clone()))?)
    }

    /// Makes a changed bundle durable, then public: no key is trusted, or forgotten, that a crash could
    /// take back.
    fn commit_bundle(
        &mut self,
        current: &ForeignBundles,
        change: Change<Bundle>,
        document: &str,
    ) -> Result<Change<Bundle>, StoreError> {
        if !matches!(change, Change::Unchanged(_)) {
            self.with_database(|database| database.write_bundle(&change, document))?;
            self.bundles.send_replace(Arc::new(foreign::after(current, &change)));
        }
        Ok(change)
    }

    /// Does one thing with the database, and lets go of it if that fails: the database refuses
    /// everything after a failed write, and what reached the disk is known only by reading it.
    fn with_database<T>(&mut self, act: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.reopen()?;
        let Some(database) = &self.database else { return Err(StoreError::Closed) };
        let done = act(database);
        if done.is_err() && self.place.survives_closing() {
            self.database = None;
        }
        done
    }

    /// Opens the database again after a failure, and publishes what it turned out to hold.
    fn reopen(&mut self) -> Result<(), StoreError> {
        if self.database.is_none() {
            let (database, contents) = file::reopen(&self.place, &self.trust_domain)?;
            self.database = Some(database);
            let current = self.entries.borrow().revision;
            if contents.entries.revision != current {
                self.entries.send_replace(Arc::new(contents.entries));
            }
            let changed = **self.bundles.borrow() != contents.bundles;
            if changed {
                self.bundles.send_replace(Arc::new(contents.bundles));
            }
        }
        Ok(())
    }
}
