//! Who may ask, and who may change something.

use nix::unistd::geteuid;
use tonic::Status;

use crate::peer::Peer;

/// Who is an operator: root, the agent's own user, and those named here.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Effective user ids.
    pub uids: Vec<u32>,
    /// Groups; their members count, whether the group is their first or a supplementary one.
    pub gids: Vec<u32>,
    /// Where entries come from, if not from operators: then nothing can be changed here.
    pub read_only: Option<String>,
}

impl Access {
    /// Lets an operator pass.
    pub(super) fn may_ask(&self, peer: &std::sync::Arc<Peer>) -> Result<(), Status> {
        let credentials = peer.connected_as();
        let own = geteuid().as_raw();
        if credentials.uid == 0 || credentials.uid == own || self.uids.contains(&credentials.uid) {
            return Ok(());
        }
        if self.gids.contains(&credentials.gid) || self.is_member(peer) {
            return Ok(());
        }
        tracing::warn!(uid = credentials.uid, pid = peer.pid(), "refused on the admin socket");
        Err(Status::permission_denied(format!(
            "user {} is no operator of this agent; admin_api.uids and admin_api.gids of its configuration name those who are",
            credentials.uid
        )))
    }

    /// Supplementary groups are no part of the credentials at `connect`; they are read of
    /// the live process, and count only while it is who connected.
    fn is_member(&self, peer: &std::sync::Arc<Peer>) -> bool {
        !self.gids.is_empty()
            && peer.evidence().is_ok_and(|evidence| {
                let member = evidence.supplementary_groups().iter().any(|gid| self.gids.contains(gid));
                member && evidence.recheck().is_ok()
            })
    }

    /// Lets a change pass.
    pub(super) fn may_write(&self) -> Result<(), Status> {
        match &self.read_only {
            None => Ok(()),
            Some(file) => {
                Err(Status::failed_precondition(format!("entries come from {file}: edit and save that file")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_entries_come_from_a_file_nothing_is_written() {
        assert!(Access::default().may_write().is_ok());
        let refused = Access { read_only: Some("a.yaml".to_owned()), ..Access::default() }.may_write().unwrap_err();
        assert_eq!(refused.message(), "entries come from a.yaml: edit and save that file");
    }
}
