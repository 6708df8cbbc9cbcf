//! What a connection was found entitled to, kept for its next request.
//!
//! It is used again as long as the attestation holds (`attest::Kept` says how that is asked at each request) and the
//! entries are the very ones that decided: any change of any entry has everything asked anew.

use std::sync::{Arc, Weak};

use countersign_common::entry::Entry;
use tokio::time::Instant;

use super::{Identity, Matched, Refusal};
use crate::attest::Kept;
use crate::peer::Peer;
use crate::registry::{Snapshot, is_in_force};

/// An attestation, and the entries that it matched.
pub(super) struct Entitlement {
    attestation: Kept,
    entries: Vec<Arc<Entry>>,
    by: Weak<Snapshot>,
}

impl Identity {
    /// What `peer` was found to match before, if that holds still.
    ///
    /// # Errors
    /// The process is gone, or is no longer what was attested.
    pub(super) fn kept(&self, peer: &Peer) -> Result<Option<Matched>, Refusal> {
        let Some(kept) = peer.kept::<Entitlement>() else { return Ok(None) };
        let Entitlement { attestation, entries, by } = &*kept;
        let is_unchanged = std::ptr::eq(by.as_ptr(), Arc::as_ptr(&self.registry.borrow()));
        let now = self.clock.now();
        if !is_unchanged || !entries.iter().all(|entry| is_in_force(entry, now)) {
            return Ok(None);
        }
        let attestation = attestation.again(Instant::now())?;
        let matched = |attestation| Matched { attestation, entries: entries.clone(), by: by.clone(), is_kept: true };
        Ok(attestation.map(matched))
    }

    /// Keeps what `peer` was found to match, unless that is what was kept before.
    pub(super) fn keep(&self, peer: &Peer, matched: Matched) {
        let Matched { attestation, entries, by, is_kept } = matched;
        let kept = if is_kept { None } else { self.attestors.keep(&attestation) };
        let Some(attestation) = kept else { return };
        peer.keep(Arc::new(Entitlement { attestation, entries, by }));
    }
}
