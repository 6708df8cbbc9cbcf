//! A weakened agent that attests once a connection, and takes it for granted afterwards.

use std::sync::{Arc, Mutex, PoisonError};

use crate::peer::{Evidence, Peer, PeerError};
use crate::weakened::Protection;

/// The evidence that was read first about each peer.
#[derive(Default)]
pub(super) struct First(Mutex<Vec<Arc<Evidence>>>);

impl First {
    /// The evidence about `peer`: new each time, or only once where nobody looks for changes.
    pub(super) fn of(&self, peer: &Arc<Peer>) -> Result<Arc<Evidence>, PeerError> {
        if !Protection::Change.is_out() {
            return Ok(Arc::new(peer.evidence()?));
        }
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = first.iter().find(|evidence| Arc::ptr_eq(evidence.fingerprint().peer(), peer)) {
            return Ok(Arc::clone(known));
        }
        let evidence = Arc::new(peer.evidence()?);
        first.push(Arc::clone(&evidence));
        Ok(evidence)
    }
}
