//! For tests of the rooms above: an authority whose disk can be full, and a hand on its schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use countersign_common::clock::Clock;

use super::keeper::{AtRest, Request, StateRecord};
use super::{EmbeddedAuthority, Options, SealingKey};
use crate::authority::AuthorityError;
use crate::drain::Drain;
use crate::store::{Store, StoreError};

/// The record of a store, as long as there is room on its disk.
struct Disk {
    store: Store,
    full: Arc<AtomicBool>,
}

#[async_trait]
impl StateRecord for Disk {
    async fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.load().await
    }

    async fn save(&self, sealed: Vec<u8>) -> Result<(), StoreError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Write { path: "store".into(), reason: "no room".to_owned() });
        }
        self.store.save(sealed).await
    }
}

impl EmbeddedAuthority {
    /// As [`EmbeddedAuthority::start`], on a disk that is full while `full` says so.
    pub(crate) async fn start_on_disk(
        (store, full): (Store, Arc<AtomicBool>),
        sealing_key: SealingKey,
        options: Options,
        clock: Arc<dyn Clock>,
        drain: Drain,
    ) -> Result<Arc<Self>, AuthorityError> {
        let (entries, foreign) = (store.entries(), store.foreign_bundles());
        let record = Arc::new(Disk { store, full });
        let at_rest = AtRest { record, sealing_key: Some(sealing_key) };
        Self::start_with(at_rest, entries, foreign, options, clock, drain).await
    }

    /// Does what is due by now, without waiting for the schedule to wake.
    pub(crate) async fn move_on(&self) -> Result<(), AuthorityError> {
        self.ask(Request::Advance).await.map(drop)
    }
}
