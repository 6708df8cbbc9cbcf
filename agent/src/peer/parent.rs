//! The parent of a process, held and read as the process itself is.

use std::sync::Arc;

use super::proc_dir::ProcDir;
use super::{Credentials, Evidence, Peer, PeerError, pidfd_open};

impl Evidence {
    /// Evidence about the parent as of now; none if it is outside the agent's pid namespace. To
    /// be called on a runtime. Whoever relies on it asks [`Evidence::check_child_of`] afterwards.
    ///
    /// # Errors
    /// One of the two is gone, or cannot be read.
    pub fn parent(&self) -> Result<Option<Arc<Evidence>>, PeerError> {
        let pid = self.parent_pid()?;
        if pid == 0 {
            return Ok(None);
        }
        let parent = Peer::hold(pidfd_open(pid)?, Credentials { uid: 0, gid: 0 })?;
        // Nobody connected: the credentials are those that it has, and the recheck holds it to them.
        let connected_as = ProcDir::open(&parent)?.status()?.effective();
        let parent = Arc::new(Peer { connected_as, ..parent }).evidence()?;
        // A pid is given to another process only after its own has exited. If the number is still
        // the parent's and its holder lives afterwards, its holder is the parent.
        self.check_child_of(&parent)?;
        Ok(Some(Arc::new(parent)))
    }

    /// Whether the process is the child of the other as of now, and the other still what its
    /// evidence says.
    ///
    /// # Errors
    /// It is another's child by now, the other changed, or one of them is gone or cannot be read.
    pub fn check_child_of(&self, parent: &Evidence) -> Result<(), PeerError> {
        if self.parent_pid()? != parent.instance().pid {
            return Err(PeerError::Changed { what: "parent" });
        }
        parent.recheck()
    }

    fn parent_pid(&self) -> Result<i32, PeerError> {
        Ok(ProcDir::open(self.fingerprint().peer())?.status()?.parent)
    }
}
